//! Writes JSON schemas of what the chart brings into the folder that is named, for kubeconform: it would else fetch those of
//! Kubernetes from the web, and ours from nowhere. A field that a kind does not have is refused.

use std::path::PathBuf;

use k8s_openapi::Resource;
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{Namespace, Pod, Secret, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use schemars::{JsonSchema, schema_for};
use serde_json::{Value, json};

const ANYTHING: &str = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON";

/// By what kubeconform finds them: `{{.ResourceKind}}-{{.Group}}-{{.ResourceAPIVersion}}.json`. What has no group has its version
/// twice.
fn file_name(kind: &str, group: &str, version: &str) -> String {
    let group = if group.is_empty() { version } else { group };
    format!("{}-{group}-{version}.json", kind.to_lowercase())
}

fn of<K: Resource + JsonSchema>() -> (String, Value) {
    let mut schema = schema_for!(K).to_value();
    strict(&mut schema);
    (file_name(K::KIND, K::GROUP, K::VERSION), schema)
}

/// Where the fields of an object are named, there are no others.
fn strict(schema: &mut Value) {
    if let Some(of) = schema.as_object_mut() {
        // What may be anything, such as a default in a definition, is said to be an object.
        if let Some(anything) = of.get_mut("$defs").and_then(|defs| defs.get_mut(ANYTHING)) {
            *anything = json!(true);
        }
        let named = of.get("properties").is_some_and(Value::is_object);
        if named && !of.contains_key("additionalProperties") {
            of.insert("additionalProperties".to_owned(), json!(false));
        }
    }
    match schema {
        Value::Object(of) => of.values_mut().for_each(strict),
        Value::Array(of) => of.iter_mut().for_each(strict),
        _ => {}
    }
}

/// A custom resource, as its definition says, with what all objects have.
fn custom(definition: &CustomResourceDefinition) -> Result<Vec<(String, Value)>, Box<dyn std::error::Error>> {
    let mut all = Vec::new();
    for version in &definition.spec.versions {
        let schema = version.schema.as_ref().and_then(|schema| schema.open_api_v3_schema.as_ref());
        let mut schema = serde_json::to_value(schema.ok_or("a definition has no schema")?)?;
        schema["properties"]["apiVersion"] = json!({"type": "string"});
        schema["properties"]["kind"] = json!({"type": "string"});
        schema["properties"]["metadata"] = json!({"type": "object"});
        strict(&mut schema);
        all.push((file_name(&definition.spec.names.kind, &definition.spec.group, &version.name), schema));
    }
    Ok(all)
}

/// Of another project: as far as the chart uses it.
fn service_monitor() -> (String, Value) {
    let text = || json!({"type": "string"});
    let endpoint =
        json!({"properties": {"port": text(), "path": text(), "interval": text()}, "required": ["port"]});
    let mut schema = json!({
        "properties": {
            "apiVersion": text(),
            "kind": text(),
            "metadata": {"type": "object"},
            "spec": {
                "properties": {
                    "selector": {"properties": {"matchLabels": {"type": "object"}}},
                    "endpoints": {"type": "array", "minItems": 1, "items": endpoint},
                },
                "required": ["selector", "endpoints"],
            },
        },
        "required": ["metadata", "spec"],
    });
    strict(&mut schema);
    (file_name("ServiceMonitor", "monitoring.coreos.com", "v1"), schema)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = PathBuf::from(std::env::args_os().nth(1).ok_or("usage: schemas FOLDER")?);
    std::fs::create_dir_all(&folder)?;
    let mut all = vec![
        of::<ClusterRole>(),
        of::<ClusterRoleBinding>(),
        of::<CustomResourceDefinition>(),
        of::<Deployment>(),
        of::<Namespace>(),
        of::<NetworkPolicy>(),
        of::<Pod>(),
        of::<PodDisruptionBudget>(),
        of::<Role>(),
        of::<RoleBinding>(),
        of::<Secret>(),
        of::<Service>(),
        of::<ServiceAccount>(),
        of::<StatefulSet>(),
        service_monitor(),
    ];
    for (_, definition) in stoker_crds::definitions() {
        all.extend(custom(&definition)?);
    }
    for (name, schema) in all {
        std::fs::write(folder.join(name), serde_json::to_vec_pretty(&schema)?)?;
    }
    Ok(())
}
