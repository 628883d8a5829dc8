package node

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes"
)

const (
	edgeSpace   = "portainer"
	edgeAccount = "portainer-sa-clusteradmin"
)

// TestPortainerAgent has a real API server and the real controllers take the
// agent's objects, through four lives of one node. No agent runs: a control
// plane alone has no node for its pod.
func TestPortainerAgent(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*limit)
	defer cancel()
	path := t.TempDir()
	const key, otherKey = "PLANTED-7f3a", "PLANTED-9c1d"
	setting := func(key string) []string {
		return []string{"KUBESOLO_PORTAINER_EDGE_ID=edge-1", "KUBESOLO_PORTAINER_EDGE_KEY=" + key, "KUBESOLO_PORTAINER_EDGE_ASYNC=true"}
	}

	first := startNode(t, path, "10.40.0.1", setting(key)...)
	first.await(t, "Portainer agent: deployed")
	made := edgeObjects(ctx, t, path)
	if len(made) != 7 {
		t.Fatalf("objects %v", slices.Sorted(maps.Keys(made)))
	}
	client := first.client(t)
	pod := edgePod(ctx, t, client, "")
	checkEdgePod(t, pod)
	secret, err := client.CoreV1().Secrets(edgeSpace).Get(ctx, "portainer-agent-edge-key", metav1.GetOptions{})
	if err != nil || string(secret.Data["edge.key"]) != key {
		t.Errorf("Secret %q, error %v", secret.Data, err)
	}
	settings, err := client.CoreV1().ConfigMaps(edgeSpace).Get(ctx, "portainer-agent-edge", metav1.GetOptions{})
	if want := map[string]string{"EDGE_ID": "edge-1", "EDGE_INSECURE_POLL": "1", "EDGE_ASYNC": "1"}; err != nil || !maps.Equal(settings.Data, want) {
		t.Errorf("settings %v, error %v", settings.Data, err)
	}
	theirs := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "theirs"}}
	if _, err := client.CoreV1().ConfigMaps(edgeSpace).Create(ctx, theirs, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	first.stop(t)

	second := startNode(t, path, "10.40.0.1", setting(key)...)
	second.await(t, "Portainer agent: deployed")
	for name, object := range edgeObjects(ctx, t, path) {
		if before := version(made[name]); version(object) != before {
			t.Errorf("%s: version %s, before the restart %s", name, version(object), before)
		}
	}
	client = second.client(t)
	// What somebody else made under one of the names: a Portainer server in
	// the cluster has an account of this one.
	accounts := client.CoreV1().ServiceAccounts(edgeSpace)
	if err := accounts.Delete(ctx, edgeAccount, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	foreign := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: edgeAccount}}
	if foreign, err = accounts.Create(ctx, foreign, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	second.stop(t)

	third := startNode(t, path, "10.40.0.1", setting(otherKey)...)
	third.await(t, "left as somebody else made them: ServiceAccount "+edgeAccount)
	third.await(t, "Portainer agent: deployed")
	client = third.client(t)
	rolled := edgePod(ctx, t, client, pod.Annotations["kubesolo.io/settings"])
	if rolled.UID == pod.UID {
		t.Error("another key, and the same pod")
	}
	secret, err = client.CoreV1().Secrets(edgeSpace).Get(ctx, "portainer-agent-edge-key", metav1.GetOptions{})
	if err != nil || string(secret.Data["edge.key"]) != otherKey {
		t.Errorf("Secret %q, error %v", secret.Data, err)
	}
	for name, object := range edgeObjects(ctx, t, path) {
		text, err := json.Marshal(object)
		if err != nil || strings.Contains(string(text), "PLANTED") {
			t.Errorf("%s tells the key (error %v)", name, err)
		}
	}
	third.stop(t)

	fourth := startNode(t, path, "10.40.0.1")
	fourth.await(t, "Portainer agent: removed")
	client = fourth.client(t)
	left := edgeObjects(ctx, t, path)
	if names := slices.Sorted(maps.Keys(left)); !slices.Equal(names, []string{"namespaces/" + edgeSpace, "serviceaccounts/" + edgeAccount}) {
		t.Errorf("left %v", names)
	}
	if account, err := client.CoreV1().ServiceAccounts(edgeSpace).Get(ctx, edgeAccount, metav1.GetOptions{}); err != nil || account.UID != foreign.UID || len(account.Labels) > 0 {
		t.Errorf("the account of somebody else: %v, error %v", account, err)
	}
	if _, err := client.CoreV1().ConfigMaps(edgeSpace).Get(ctx, "theirs", metav1.GetOptions{}); err != nil {
		t.Error(err)
	}
	eventually(ctx, t, "the pod ends with its Deployment", func() error {
		pods, err := client.CoreV1().Pods(edgeSpace).List(ctx, metav1.ListOptions{})
		if err == nil && len(pods.Items) > 0 {
			err = fmt.Errorf("%d pods", len(pods.Items))
		}
		return err
	})
	fourth.stop(t)
	for i, life := range []*process{first, second, third, fourth} {
		if said := life.output.String(); strings.Contains(said, "PLANTED") || strings.Contains(said, "edge-1") {
			t.Errorf("life %d tells a secret", i+1)
		}
	}
}

// edgeObjects are those of the agent's names that are there.
func edgeObjects(ctx context.Context, t *testing.T, path string) map[string]*unstructured.Unstructured {
	t.Helper()
	client := dynamicClient(t, path)
	core := schema.GroupVersion{Version: "v1"}
	bindings := schema.GroupVersionResource{Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "clusterrolebindings"}
	deployments := schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}
	found := map[string]*unstructured.Unstructured{}
	for _, wanted := range []struct {
		resource        schema.GroupVersionResource
		namespace, name string
	}{
		{core.WithResource("namespaces"), "", edgeSpace},
		{core.WithResource("serviceaccounts"), edgeSpace, edgeAccount},
		{bindings, "", "portainer-crb-clusteradmin"},
		{core.WithResource("configmaps"), edgeSpace, "portainer-agent-edge"},
		{core.WithResource("secrets"), edgeSpace, "portainer-agent-edge-key"},
		{core.WithResource("services"), edgeSpace, "portainer-agent"},
		{deployments, edgeSpace, "portainer-agent"},
	} {
		object, err := client.Resource(wanted.resource).Namespace(wanted.namespace).Get(ctx, wanted.name, metav1.GetOptions{})
		if err == nil {
			found[wanted.resource.Resource+"/"+wanted.name] = object
		} else if !apierrors.IsNotFound(err) {
			t.Fatal(err)
		}
	}
	return found
}

// version changes when somebody writes; controllers write the status of a
// Deployment at will.
func version(object *unstructured.Unstructured) string {
	if object.GetKind() == "Deployment" {
		return fmt.Sprint(object.GetGeneration())
	}
	return object.GetResourceVersion()
}

// edgePod waits for the one pod of the agent, with other settings than before.
func edgePod(ctx context.Context, t *testing.T, client kubernetes.Interface, before string) corev1.Pod {
	t.Helper()
	var pod corev1.Pod
	eventually(ctx, t, "one pod of the agent", func() error {
		pods, err := client.CoreV1().Pods(edgeSpace).List(ctx, metav1.ListOptions{LabelSelector: "app=portainer-agent"})
		if err != nil {
			return err
		}
		if len(pods.Items) != 1 || pods.Items[0].Annotations["kubesolo.io/settings"] == before {
			return fmt.Errorf("%d pods", len(pods.Items))
		}
		pod = pods.Items[0]
		return nil
	})
	return pod
}

func checkEdgePod(t *testing.T, pod corev1.Pod) {
	t.Helper()
	container := pod.Spec.Containers[0]
	if container.Image != "docker.io/portainer/agent:lts" || container.ImagePullPolicy != corev1.PullIfNotPresent || pod.Spec.ServiceAccountName != edgeAccount {
		t.Errorf("image %s, %s, account %s", container.Image, container.ImagePullPolicy, pod.Spec.ServiceAccountName)
	}
	env := map[string]corev1.EnvVar{}
	for _, variable := range container.Env {
		env[variable.Name] = variable
	}
	if env["EDGE"].Value != "1" || env["AGENT_CLUSTER_ADDR"].Value != "portainer-agent" || env["LOG_LEVEL"].Value != "INFO" {
		t.Errorf("environment %v", env)
	}
	if from := env["KUBERNETES_POD_IP"].ValueFrom; from == nil || from.FieldRef == nil || from.FieldRef.FieldPath != "status.podIP" {
		t.Errorf("KUBERNETES_POD_IP from %v", from)
	}
	if from := env["EDGE_KEY"].ValueFrom; from == nil || from.SecretKeyRef == nil || from.SecretKeyRef.Name != "portainer-agent-edge-key" {
		t.Errorf("EDGE_KEY from %v", from)
	}
	if from := container.EnvFrom; len(from) != 1 || from[0].ConfigMapRef == nil || from[0].ConfigMapRef.Name != "portainer-agent-edge" {
		t.Errorf("environment from %v", from)
	}
}
