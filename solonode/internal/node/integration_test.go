package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	authv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"kubesolo.io/os/solonode/internal/options"
	"kubesolo.io/os/solonode/internal/statecopy"
)

const limit = 3 * time.Minute

// The upstream components keep process-wide registries, so each life of a node
// is its own process: TestMain runs one when it is asked to.
const childPath, childAddress = "KUBESOLO_TEST_PATH", "KUBESOLO_TEST_ADDRESS"

func TestMain(m *testing.M) {
	path := os.Getenv(childPath)
	if path == "" {
		os.Exit(m.Run())
	}
	ctx, stop := context.WithCancel(context.Background())
	go func() {
		// The parent closes standard input to stop the node.
		_, err := os.Stdin.Read(make([]byte, 1))
		fmt.Println("stopping:", err)
		stop()
	}()
	opts, err := options.Parse(nil, os.Getenv)
	opts.StateCopies = filepath.Join(path, "copies")
	opts.Path, opts.NodeName, opts.NodeIP = path, "node1", netip.MustParseAddr(os.Getenv(childAddress))
	if err == nil {
		var lines sync.Mutex
		err = Run(ctx, Config{
			Options: opts, ControlPlaneOnly: true, Settle: func() error { return nil },
			Log: func(line string) {
				lines.Lock()
				defer lines.Unlock()
				fmt.Println(line)
			},
		})
	}
	if err != nil {
		fmt.Println("failed:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// TestControlPlane runs the real datastore, API server, controllers and
// scheduler through two lives on one directory, the second at another address.
func TestControlPlane(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	path := t.TempDir()
	first := startNode(t, path, "10.40.0.1")
	client := first.client(t)
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()

	configMap := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "kept"}, Data: map[string]string{"a": "b"}}
	if _, err := client.CoreV1().ConfigMaps("default").Create(ctx, configMap, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	request := &authv1.TokenRequest{}
	token, err := client.CoreV1().ServiceAccounts("default").CreateToken(ctx, "default", request, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	deployments, err := client.AppsV1().Deployments("kube-system").List(ctx, metav1.ListOptions{})
	if err != nil || len(deployments.Items) != 1 || deployments.Items[0].Name != "coredns" {
		t.Errorf("deployments %v, error %v", deployments.Items, err)
	}
	eventually(ctx, t, "the kubernetes Service has the node's address", func() error { return endpointIs(ctx, client, "10.40.0.1") })
	authority := readFile(t, path, "pki/ca/ca.crt")
	key := readFile(t, path, "pki/apiserver/service-account.key")
	first.stop(t)
	if _, err := os.Stat(filepath.Join(path, "kine", "state.db-wal")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the database's log was not merged at the stop: %v", err)
	}

	second := startNode(t, path, "10.40.0.2")
	client = second.client(t)
	if got, err := client.CoreV1().ConfigMaps("default").Get(ctx, "kept", metav1.GetOptions{}); err != nil || got.Data["a"] != "b" {
		t.Errorf("object after the restart: %v, error %v", got, err)
	}
	review := &authv1.TokenReview{Spec: authv1.TokenReviewSpec{Token: token.Status.Token}}
	if review, err = client.AuthenticationV1().TokenReviews().Create(ctx, review, metav1.CreateOptions{}); err != nil || !review.Status.Authenticated {
		t.Errorf("old token after the address change: %+v, error %v", review.Status, err)
	}
	if readFile(t, path, "pki/ca/ca.crt") != authority || readFile(t, path, "pki/apiserver/service-account.key") != key {
		t.Error("the address change replaced the authority or the service account key")
	}
	anonymousGetsHealthOnly(ctx, t, path)
	eventually(ctx, t, "the kubernetes Service has the new address", func() error { return endpointIs(ctx, client, "10.40.0.2") })
	copyState(ctx, t, path)
	second.stop(t)

	// Nothing of the file is left but its length.
	state := filepath.Join(path, "kine", "state.db")
	info, err := os.Stat(state)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(state, bytes.Repeat([]byte{0xa5}, int(info.Size())), 0o600); err != nil {
		t.Fatal(err)
	}
	third := startNode(t, path, "10.40.0.2")
	client = third.client(t)
	if got, err := client.CoreV1().ConfigMaps("default").Get(ctx, "kept", metav1.GetOptions{}); err != nil || got.Data["a"] != "b" {
		t.Errorf("object after the recovery: %v, error %v", got, err)
	}
	review = &authv1.TokenReview{Spec: authv1.TokenReviewSpec{Token: token.Status.Token}}
	if review, err = client.AuthenticationV1().TokenReviews().Create(ctx, review, metav1.CreateOptions{}); err != nil || !review.Status.Authenticated {
		t.Errorf("old token after the recovery: %+v, error %v", review.Status, err)
	}
	third.stop(t)
	if broken, err := filepath.Glob(state + ".broken-*"); err != nil || len(broken) != 1 {
		t.Errorf("kept aside: %v, %v", broken, err)
	}
}

// copyState asks the running node as an operator does.
func copyState(ctx context.Context, t *testing.T, path string) {
	t.Helper()
	store := StateStore(options.Options{Path: path, StateCopies: filepath.Join(path, "copies"), StateCopiesKeep: 4})
	err := statecopy.Command(ctx, statecopy.Environment{
		Store: store, Socket: filepath.Join(path, "kine", "state.sock"), Out: t.Output(),
	}, []string{"copy"})
	if err != nil {
		t.Fatal(err)
	}
	if list, err := store.List(); err != nil || len(list) != 1 || list[0].Key != store.Key {
		t.Errorf("copies %+v, %v", list, err)
	}
}

func endpointIs(ctx context.Context, client kubernetes.Interface, address string) error {
	slices, err := client.DiscoveryV1().EndpointSlices("default").List(ctx, metav1.ListOptions{LabelSelector: "kubernetes.io/service-name=kubernetes"})
	if err != nil {
		return err
	}
	for _, slice := range slices.Items {
		if len(slice.Endpoints) == 1 && len(slice.Endpoints[0].Addresses) == 1 && slice.Endpoints[0].Addresses[0] == address {
			return nil
		}
	}
	return fmt.Errorf("slices %v", slices.Items)
}

func eventually(ctx context.Context, t *testing.T, what string, check func() error) {
	t.Helper()
	for {
		err := check()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: %v", what, err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func readFile(t *testing.T, parts ...string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(parts...))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func adminClient(path string) (kubernetes.Interface, error) {
	config, err := clientcmd.BuildConfigFromFlags("", filepath.Join(path, "pki", "admin", "admin.kubeconfig"))
	if err != nil {
		return nil, err
	}
	return kubernetes.NewForConfig(config)
}

func TestNodeName(t *testing.T) {
	tests := []struct{ configured, host, want string }{
		{"", "Box.Example.", "box.example"},
		{"node-1", "x", "node-1"},
		{"Node", "x", ""},
		{"a..b", "x", ""},
		{"-a", "x", ""},
		{"", "under_score", ""},
		{strings.Repeat("a", 64), "x", ""},
	}
	for _, test := range tests {
		got, err := nodeName(test.configured, func() (string, error) { return test.host, nil })
		if got != test.want || (err == nil) != (test.want != "") {
			t.Errorf("%+v: got %q, error %v", test, got, err)
		}
	}
}
