// Package addons deploys what every node carries as pods: CoreDNS and, when
// enabled, the local-path storage provisioner and Portainer's Edge agent. The
// manifests are rendered from the embedded YAML (pure, golden-tested) and
// applied server-side, so fields that others own are left alone and an
// unchanged manifest writes nothing.
//
// A switched-off provisioner is not removed: it keeps serving volumes that
// exist. The agent is, as its account may do everything: what carries our
// label, and nothing else. The node is ready without the agent; what stands in
// its way is logged, and tried again.
package addons

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"time"

	"kubesolo.io/os/solonode/internal/hostnet"
)

//go:embed manifests/*.yaml
var manifests embed.FS

// Images that the host ships. They are pinned here and in the host's preload
// list together.
const (
	CoreDNSImage     = "registry.k8s.io/coredns/coredns:v1.14.4"
	ProvisionerImage = "docker.io/rancher/local-path-provisioner:v0.0.30"
	HelperImage      = "docker.io/library/busybox:latest"
)

// Config is what differs between nodes.
type Config struct {
	DNSServiceIP  string
	ClusterDomain string
	Nameservers   []netip.Addr // upstream servers for CoreDNS; none: cluster names only
	LocalStorage  bool
	LocalPath     string // directory of the volumes
	SharedPath    string // shared file system instead of LocalPath, or ""
	Portainer     Portainer
}

// Render gives the manifests to apply, in order.
func Render(cfg Config) ([]string, error) {
	names := []string{"coredns"}
	if cfg.LocalStorage {
		names = append(names, "localpath")
	}
	paths, err := cfg.localPathConfig()
	if err != nil {
		return nil, err
	}
	replacer := strings.NewReplacer(
		"@DOMAIN@", cfg.ClusterDomain,
		"@DNSIP@", cfg.DNSServiceIP,
		"@FORWARD@", cfg.forward(),
		"@COREDNS@", CoreDNSImage,
		"@PROVISIONER@", ProvisionerImage,
		"@HELPER@", HelperImage,
		"@PATHS@", paths,
	)
	var documents []string
	for _, name := range names {
		data, err := manifests.ReadFile("manifests/" + name + ".yaml")
		if err != nil {
			return nil, err
		}
		for document := range strings.SplitSeq(string(data), "\n---\n") {
			documents = append(documents, replacer.Replace(document))
		}
	}
	return documents, nil
}

// forward is the part of the Corefile for names outside the cluster. The
// servers are written out: /etc/resolv.conf inside the pod is a copy from the
// pod's start, and an empty one makes the plugin refuse to start. The loop
// plugin is left out, because servers on loopback are filtered and its answer
// to a loop is to end the process.
func (cfg Config) forward() string {
	if len(cfg.Nameservers) == 0 {
		return ""
	}
	var servers []string
	for _, addr := range cfg.Nameservers {
		servers = append(servers, addr.String())
	}
	return "\n        forward . " + strings.Join(servers, " ") + " {\n            max_concurrent 1000\n        }"
}

func (cfg Config) localPathConfig() (string, error) {
	content := map[string]any{
		"nodePathMap": []map[string]any{{"node": "DEFAULT_PATH_FOR_NON_LISTED_NODES", "paths": []string{cfg.LocalPath}}},
	}
	if cfg.SharedPath != "" {
		content = map[string]any{"sharedFileSystemPath": cfg.SharedPath}
	}
	data, err := json.Marshal(content)
	return string(data), err
}

// Run applies the manifests and applies them again when the host's name
// servers change. ready is called after the first success.
func Run(ctx context.Context, applier Applier, cfg Config, resolvConf string, log func(string), ready func()) error {
	applied := ""
	agent := agentState{Portainer: cfg.Portainer, log: log}
	for {
		text, err := os.ReadFile(resolvConf)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			log("addons: " + err.Error())
		}
		cfg.Nameservers = hostnet.Nameservers(string(text))
		documents, err := Render(cfg)
		if err != nil {
			return fmt.Errorf("addons: %w", err)
		}
		pause := 10 * time.Second
		if wanted := strings.Join(documents, "\n---\n"); wanted != applied {
			switch err := applyAll(ctx, applier, documents); {
			case err == nil:
				if applied == "" {
					ready()
				}
				applied = wanted
			case ctx.Err() == nil:
				log("addons: " + err.Error() + ", trying again")
				pause = 2 * time.Second
			}
		}
		if applied != "" {
			agent.settle(ctx, applier)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
}

func applyAll(ctx context.Context, applier Applier, documents []string) error {
	for _, document := range documents {
		if err := applier.Apply(ctx, document); err != nil {
			return err
		}
	}
	return nil
}
