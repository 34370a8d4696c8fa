// Decodes a file as kind does, and prints what it has understood. Kind itself reads one only to make a cluster of it.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"go.yaml.in/yaml/v3"
	"sigs.k8s.io/kind/pkg/apis/config/v1alpha4"
)

func main() {
	file, err := os.Open(os.Args[1])
	if err == nil {
		decoder := yaml.NewDecoder(file)
		decoder.KnownFields(true)
		cluster := v1alpha4.Cluster{}
		if err = decoder.Decode(&cluster); err == nil {
			v1alpha4.SetDefaultsCluster(&cluster)
			err = json.NewEncoder(os.Stdout).Encode(cluster)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
