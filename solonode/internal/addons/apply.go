package addons

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"
)

const fieldManager = "kubesolo"

// ownerLabel marks what may be taken away again. Its value is the add-on.
const ownerLabel = "kubesolo.io/addon"

// Applier makes the object of one YAML document exist as written.
type Applier interface {
	Apply(ctx context.Context, document string) error
	// Own is Apply for an object that is missing or carries the document's
	// owner label; one that somebody else made is left alone, and named. A
	// document without the label only makes what is missing.
	Own(ctx context.Context, document string) (foreign string, err error)
	// Remove deletes an object that carries the document's owner label.
	Remove(ctx context.Context, document string) (removed bool, err error)
}

// Server applies with server-side apply.
type Server struct {
	Client dynamic.Interface
}

// Apply forces ownership: what the manifest says wins over manual changes of
// the same field.
func (server Server) Apply(ctx context.Context, document string) error {
	object, client, err := server.open(document)
	if err != nil {
		return err
	}
	return apply(ctx, client, object)
}

// Own implements [Applier]. Between the look and the change somebody may make
// an object of that name: it is then taken over, as by Apply.
func (server Server) Own(ctx context.Context, document string) (string, error) {
	object, client, err := server.open(document)
	if err != nil {
		return "", err
	}
	live, err := client.Get(ctx, object.GetName(), metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return "", apply(ctx, client, object)
	case err != nil:
		return "", fmt.Errorf("look for %s: %w", nameOf(object), err)
	case object.GetLabels()[ownerLabel] == "":
		return "", nil
	case !sameOwner(live, object):
		return nameOf(object), nil
	}
	return "", apply(ctx, client, object)
}

// Remove implements [Applier].
func (server Server) Remove(ctx context.Context, document string) (bool, error) {
	object, client, err := server.open(document)
	if err != nil || object.GetLabels()[ownerLabel] == "" {
		return false, err
	}
	live, err := client.Get(ctx, object.GetName(), metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("look for %s: %w", nameOf(object), err)
	case !sameOwner(live, object):
		return false, nil
	}
	// Only this very object: another of its name has another identity.
	id := live.GetUID()
	err = client.Delete(ctx, object.GetName(), metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &id}})
	if err != nil && !apierrors.IsNotFound(err) {
		return false, fmt.Errorf("delete %s: %w", nameOf(object), err)
	}
	return true, nil
}

func sameOwner(live, object *unstructured.Unstructured) bool {
	return live.GetLabels()[ownerLabel] == object.GetLabels()[ownerLabel]
}

func nameOf(object *unstructured.Unstructured) string {
	return object.GetKind() + " " + object.GetName()
}

// open reads a document and gives the client for its kind.
func (server Server) open(document string) (*unstructured.Unstructured, dynamic.ResourceInterface, error) {
	object := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(document), &object.Object); err != nil {
		return nil, nil, fmt.Errorf("manifest: %w", err)
	}
	resource, namespaced, err := resourceOf(object.GroupVersionKind())
	if err != nil {
		return nil, nil, err
	}
	if namespaced {
		return object, server.Client.Resource(resource).Namespace(object.GetNamespace()), nil
	}
	return object, server.Client.Resource(resource), nil
}

func apply(ctx context.Context, client dynamic.ResourceInterface, object *unstructured.Unstructured) error {
	_, err := client.Apply(ctx, object.GetName(), object, metav1.ApplyOptions{FieldManager: fieldManager, Force: true})
	if err != nil {
		return fmt.Errorf("apply %s: %w", nameOf(object), err)
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
		"Secret":             {"secrets", true},
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
