{{- define "stoker.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{/* What all names begin with: the release, and the chart unless the release is named after it. */}}
{{- define "stoker.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else if contains (include "stoker.name" .) .Release.Name }}
{{- .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "stoker.name" .) | trunc 40 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "stoker.operator" -}}
{{ include "stoker.fullname" . }}-operator
{{- end }}

{{- define "stoker.labels" -}}
app.kubernetes.io/name: {{ include "stoker.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: stoker
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{/* By which the pods of a component are found. Called with (list component context). */}}
{{- define "stoker.selector" -}}
app.kubernetes.io/name: {{ include "stoker.name" (index . 1) }}
app.kubernetes.io/instance: {{ (index . 1).Release.Name }}
app.kubernetes.io/component: {{ index . 0 }}
{{- end }}

{{- define "stoker.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end }}
{{- end }}

{{/* As Pod Security `restricted` asks for it. Called with the number of the user. */}}
{{- define "stoker.podSecurity" -}}
runAsNonRoot: true
runAsUser: {{ . }}
runAsGroup: {{ . }}
fsGroup: {{ . }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "stoker.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
runAsUser: {{ . }}
runAsGroup: {{ . }}
capabilities:
  drop: [ALL]
{{- end }}

{{/* What the operator is told, and `--check` with it. */}}
{{- define "stoker.environment" -}}
# What pods run unless their resource names an image.
- name: STOKER_OPERATOR_IMAGE
  value: {{ include "stoker.image" . | quote }}
- name: STOKER_OPERATOR_LEASE
  value: {{ include "stoker.operator" . }}
- name: STOKER_OPERATOR_LEASE_NAMESPACE
  valueFrom:
    fieldRef: {fieldPath: metadata.namespace}
- name: POD_NAME
  valueFrom:
    fieldRef: {fieldPath: metadata.name}
{{- with .Values.watchNamespace }}
- name: STOKER_OPERATOR_NAMESPACE
  value: {{ . }}
# Definitions are of the whole cluster, and rights of one namespace do not reach there.
- name: STOKER_OPERATOR_SERVICE_MONITORS
  value: never
{{- end }}
{{- with .Values.log }}
- name: RUST_LOG
  value: {{ . | quote }}
{{- end }}
{{- end }}
