package node

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"
)

const widgets = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.test}
spec:
  group: example.test
  scope: Namespaced
  names: {plural: widgets, singular: widget, kind: Widget, listKind: WidgetList}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {size: {type: integer}}}}}}
`

const labelling = `
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicy
metadata: {name: labelling}
spec:
  failurePolicy: Fail
  reinvocationPolicy: Never
  matchConstraints:
    resourceRules:
    - {apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [configmaps]}
  matchConditions: [{name: marked, expression: "object.metadata.name.startsWith('marked')"}]
  mutations:
  - patchType: ApplyConfiguration
    applyConfiguration: {expression: 'Object{metadata: Object.metadata{labels: {"seen": "yes"}}}'}
`

const labellingBinding = `
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicyBinding
metadata: {name: labelling}
spec: {policyName: labelling}
`

// TestOpenAPI asks a real API server for documents that it does not have until
// somebody asks.
func TestOpenAPI(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	path, process, client := freshNode(t)
	custom := schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
	create(ctx, t, path, custom, widgets)
	eventually(ctx, t, "the custom resource is served", func() error {
		_, err := client.Discovery().ServerResourcesForGroupVersion("example.test/v1")
		return err
	})

	// The first request of all must be complete: kubectl does not ask twice.
	paths, err := client.Discovery().OpenAPIV3().Paths()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"api/v1", "apis/apps/v1", "apis/example.test/v1", "apis/apiextensions.k8s.io/v1", "apis/apiregistration.k8s.io/v1"} {
		group, found := paths[name]
		if !found {
			t.Errorf("the index has no %s", name)
			continue
		}
		if document, err := group.Schema("application/json"); err != nil || len(document) < 1000 {
			t.Errorf("document %s: %d bytes, error %v", name, len(document), err)
		}
	}
	swagger, err := client.Discovery().OpenAPISchema()
	if err != nil {
		t.Fatal(err)
	}
	wanted := map[string]bool{"/api/v1/pods": true, "/apis/example.test/v1/widgets": true, "/apis/apiregistration.k8s.io/v1/apiservices": true}
	for _, item := range swagger.GetPaths().GetPath() {
		delete(wanted, item.GetName())
	}
	if len(wanted) > 0 {
		t.Errorf("version 2 lacks %v", wanted)
	}
	process.stop(t)
}

// TestMutatingPolicy needs the documents inside the API server, with nobody
// outside asking for them.
func TestMutatingPolicy(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	path, process, client := freshNode(t)
	group := schema.GroupVersion{Group: "admissionregistration.k8s.io", Version: "v1"}
	create(ctx, t, path, group.WithResource("mutatingadmissionpolicies"), labelling)
	create(ctx, t, path, group.WithResource("mutatingadmissionpolicybindings"), labellingBinding)
	attempt := 0
	eventually(ctx, t, "the policy is in force", func() error {
		attempt++
		object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("marked-%d", attempt)}}
		object, err := client.CoreV1().ConfigMaps("default").Create(ctx, object, metav1.CreateOptions{})
		if err == nil && object.Labels["seen"] != "yes" {
			err = errors.New("no label yet")
		}
		return err
	})
	process.stop(t)
}

// freshNode starts a control plane on an empty directory.
func freshNode(t *testing.T) (path string, process *process, client kubernetes.Interface) {
	t.Helper()
	path = t.TempDir()
	process = startNode(t, path, "10.40.0.1")
	return path, process, process.client(t)
}

// dynamicClient is the administrator's, for objects of any kind.
func dynamicClient(t *testing.T, path string) dynamic.Interface {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", filepath.Join(path, "pki", "admin", "admin.kubeconfig"))
	if err != nil {
		t.Fatal(err)
	}
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func create(ctx context.Context, t *testing.T, path string, resource schema.GroupVersionResource, document string) {
	t.Helper()
	client := dynamicClient(t, path)
	object := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(document), &object.Object); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Resource(resource).Create(ctx, object, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}
