package kube

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"kubesolo.io/os/internal/kubeapi"
)

//go:embed osupdate.crd.json
var manifest []byte

const (
	definitionsURL = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
	definitionName = "osupdates." + group
	// managedBy says whose the definition is; the manifest has it.
	managedBy, manager = "app.kubernetes.io/managed-by", "ksagent"
	// digestOf has the hash of the manifest that the definition was made of.
	digestOf = group + "/manifest"
)

// errNotYet: the API server knows of the definition, and does not serve it yet.
var errNotYet = errors.New("the API server does not serve OSUpdates yet")

// define makes sure that the API serves OSUpdates as this version has them.
func define(ctx context.Context, api *kubeapi.Client) error {
	text, digest, err := definition()
	if err != nil {
		return err
	}
	var have struct {
		Metadata struct {
			Labels, Annotations map[string]string
		}
		Status struct {
			Conditions []condition
		}
	}
	err = do(ctx, api, http.MethodGet, definitionsURL+"/"+definitionName, nil, &have)
	switch {
	case kubeapi.IsNotFound(err):
		if err := do(ctx, api, http.MethodPost, definitionsURL, text, nil); err != nil && !kubeapi.IsConflict(err) {
			return fmt.Errorf("define OSUpdates: %w", err)
		}
		return errNotYet
	case err != nil:
		return fmt.Errorf("define OSUpdates: %w", err)
	case have.Metadata.Labels[managedBy] != manager:
		return fmt.Errorf("the definition %s is not the agent's, so it is left alone and OSUpdates are not looked at: delete it, or give it the label %s=%s",
			definitionName, managedBy, manager)
	case have.Metadata.Annotations[digestOf] != digest:
		if err := do(ctx, api, http.MethodPatch, definitionsURL+"/"+definitionName, text, nil); err != nil {
			return fmt.Errorf("renew the definition of OSUpdates: %w", err)
		}
	}
	for _, c := range have.Status.Conditions {
		if c.Type == "Established" && c.Status == "True" {
			return nil
		}
	}
	return errNotYet
}

// definition is the manifest, and its hash, which is in it as an annotation.
func definition() (text []byte, digest string, err error) {
	sum := sha256.Sum256(manifest)
	digest = hex.EncodeToString(sum[:8])
	var v map[string]any
	if err := json.Unmarshal(manifest, &v); err != nil {
		return nil, "", fmt.Errorf("definition of OSUpdates: %w", err)
	}
	v["metadata"].(map[string]any)["annotations"] = map[string]string{digestOf: digest}
	text, err = json.Marshal(v)
	return text, digest, err
}
