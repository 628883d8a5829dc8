package addons

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"
)

const fieldManager = "kubesolo"

// Applier makes the object of one YAML document exist as written.
type Applier interface {
	Apply(ctx context.Context, document string) error
}

// Server applies with server-side apply.
type Server struct {
	Client dynamic.Interface
}

// Apply forces ownership: what the manifest says wins over manual changes of
// the same field.
func (server Server) Apply(ctx context.Context, document string) error {
	object := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(document), &object.Object); err != nil {
		return fmt.Errorf("manifest: %w", err)
	}
	resource, namespaced, err := resourceOf(object.GroupVersionKind())
	if err != nil {
		return err
	}
	client := dynamic.ResourceInterface(server.Client.Resource(resource))
	if namespaced {
		client = server.Client.Resource(resource).Namespace(object.GetNamespace())
	}
	_, err = client.Apply(ctx, object.GetName(), object, metav1.ApplyOptions{FieldManager: fieldManager, Force: true})
	if err != nil {
		return fmt.Errorf("apply %s %s: %w", object.GetKind(), object.GetName(), err)
	}
	return nil
}

// resourceOf maps the kinds of the embedded manifests; a REST mapper would
// download the discovery documents of the whole API for that.
func resourceOf(kind schema.GroupVersionKind) (schema.GroupVersionResource, bool, error) {
	resources := map[string]struct {
		name       string
		namespaced bool
	}{
		"Namespace":          {"namespaces", false},
		"ServiceAccount":     {"serviceaccounts", true},
		"ConfigMap":          {"configmaps", true},
		"Service":            {"services", true},
		"Deployment":         {"deployments", true},
		"Role":               {"roles", true},
		"RoleBinding":        {"rolebindings", true},
		"ClusterRole":        {"clusterroles", false},
		"ClusterRoleBinding": {"clusterrolebindings", false},
		"StorageClass":       {"storageclasses", false},
	}
	entry, ok := resources[kind.Kind]
	if !ok {
		return schema.GroupVersionResource{}, false, fmt.Errorf("manifest: unknown kind %s", kind)
	}
	return kind.GroupVersion().WithResource(entry.name), entry.namespaced, nil
}
