package ctl_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kubesolo.io/os/internal/cloudinit"
	"kubesolo.io/os/internal/config"
	"kubesolo.io/os/internal/ctl"
)

// ksctl runs a command line in dir and gives what came out.
func ksctl(t *testing.T, runDir, stdin string, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	var out, err bytes.Buffer
	p := ctl.Program{Stdin: strings.NewReader(stdin), Stdout: &out, Stderr: &err, RunDir: runDir}
	status = p.Run(args)
	return out.String(), err.String(), status
}

func write(t *testing.T, files map[string]string) {
	t.Helper()
	for name, text := range files {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestStatusAndStreams(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, map[string]string{
		"good.yaml": "#cloud-config\nhostname: a\n", "odd.yaml": "#cloud-config\nhostnme: a\n", "bad.yaml": "#cloud-config\nhostname: [a]\n",
		"network-config": "version: 2\nethernets: {eth0: {dhcp4: true}}\n", "meta-data": "local-hostname: a\n",
		"half.yaml": "#cloud-config\nportainer: {edge-id: x}\n",
	})
	for _, test := range []struct {
		args           string
		stdin          string
		status         int
		stdout, stderr string
	}{
		{"", "", 2, "", "Usage: ksctl COMMAND"},
		{"help", "", 0, "Usage: ksctl COMMAND", ""},
		{"nonsense", "", 2, "", `unknown command "nonsense"`},
		{"config", "", 2, "", "validate FILE..."},
		{"config --help", "", 0, "validate FILE...", ""},
		{"config validate --help", "", 0, "Exit status: 0", ""},
		{"config validate", "", 2, "", "name the files"},
		{"config validate --nonsense", "", 2, "", "-nonsense"},
		{"config validate good.yaml", "", 0, "good.yaml: valid as cloud-config, 0 errors, 0 warnings", ""},
		{"config validate odd.yaml", "", 0, "odd.yaml:2: warning: unknown key hostnme", ""},
		{"config validate bad.yaml good.yaml", "", 1, "bad.yaml:2: error: hostname must be a string", ""},
		{"config validate good.yaml absent.yaml", "", 2, "", "absent.yaml"},
		{"config validate network-config meta-data", "", 0, "meta-data: valid as meta-data", ""},
		{"config validate -", "#cloud-config\nhostname: a b\n", 1, "standard input:2: error", ""},
		{"config validate good.yaml -o yaml", "", 2, "", "text or json"},
		{"config schema", "", 0, `"$schema"`, ""},
		{"config schema x", "", 2, "", "no argument"},
		{"config show", "", 2, "", "name the files to merge"},
		{"config show absent.yaml", "", 2, "", "absent.yaml"},
		{"config show bad.yaml", "", 1, "kubesolo", "bad.yaml:2: error"},
		{"config show odd.yaml", "", 0, "kubesolo", "odd.yaml:2: warning"},
		{"config validate half.yaml", "", 0, "half.yaml: valid", ""},
		{"config show half.yaml", "", 1, "edge-id", "edge-id and edge-key go together: set both or none (from half.yaml)"},
		{"config show -o xml good.yaml", "", 2, "", "table or json"},
	} {
		out, errs, status := ksctl(t, t.TempDir(), test.stdin, strings.Fields(test.args)...)
		if status != test.status || !strings.Contains(out, test.stdout) || !strings.Contains(errs, test.stderr) {
			t.Errorf("ksctl %s: status %d, want %d\nstdout: %s\nstderr: %s", test.args, status, test.status, out, errs)
		}
		if test.stdout == "" && out != "" || test.stderr == "" && errs != "" {
			t.Errorf("ksctl %s: more than expected\nstdout: %s\nstderr: %s", test.args, out, errs)
		}
	}
}

func TestValidateAsJSON(t *testing.T) {
	out, _, status := ksctl(t, "", "", "config", "validate", "-o", "json", "../cloudinit/testdata/twelve.yaml", "../../docs/examples/dhcp.yaml")
	var got struct {
		Valid bool
		Files []struct {
			File, Kind string
			Valid      bool
			Errors     []struct {
				Line    int
				Message string
			}
		}
	}
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatal(err)
	}
	if status != 1 || got.Valid || len(got.Files) != 2 || got.Files[0].Valid || !got.Files[1].Valid {
		t.Fatalf("status %d, %+v", status, got)
	}
	if e := got.Files[0].Errors; len(e) != 12 || e[0].Line != 2 || !strings.HasPrefix(e[0].Message, "hostname: ") {
		t.Errorf("%d errors: %+v", len(e), e)
	}
}

// parts of a node: what a boot wrote down, and the same as files.
func TestShowOnNodeIsShowOfFiles(t *testing.T) {
	t.Chdir(t.TempDir())
	run := t.TempDir()
	files := map[string]string{
		"site.yaml": "#cloud-config\nhostname: a\nntp: {enabled: true}\nproxy: {http: \"http://u:geheim@p.example:1\"}\n" +
			"kubesolo: {extra-env: {TOKEN: geheim}}\nsysctl: {vm.swappiness: 1}\n" +
			"write_files: [{path: /run/x, content: geheim, permissions: 0600}]\nportainer: {edge-id: \"\\e[2J\", edge-key: geheim}\n",
		"box.yaml": "#cloud-config\nhostname: b\nnetwork: {version: 2, ethernets: {eth0: {addresses: [192.0.2.1/24], gateway4: 192.0.2.254,\n" +
			"  routes: [{to: 198.51.100.0/24, via: 203.0.113.1, on-link: true, metric: 5}]}}}\n",
	}
	write(t, files)
	all := []config.Part{config.Defaults()}
	for _, name := range []string{"site.yaml", "box.yaml"} {
		part, warnings, err := cloudinit.Parse(cloudinit.CloudConfig, []byte(files[name]))
		if err != nil || warnings != nil {
			t.Fatal(err, warnings)
		}
		part.Source = name
		all = append(all, part)
	}
	c, o := config.Merge(all...)
	if err := config.WriteEffective(run, c, o); err != nil {
		t.Fatal(err)
	}
	for _, options := range [][]string{{}, {"--origins"}, {"-o", "json"}, {"-o", "json", "--origins"}} {
		args := append([]string{"config", "show"}, options...)
		here, _, status := ksctl(t, run, "", args...)
		there, errs, _ := ksctl(t, "", "", append(args, "site.yaml", "box.yaml")...)
		if status != 0 || errs != "" || here != there {
			t.Errorf("%v: status %d, %s\non the node\n%s\nof files\n%s", options, status, errs, here, there)
		}
		if strings.Contains(here, "geheim") || strings.Contains(here, "\x1b") {
			t.Errorf("%v: a secret, or what moves the cursor:\n%s", options, here)
		}
	}
	out, _, _ := ksctl(t, run, "", "config", "show", "--origins")
	got := map[string]string{}
	for line := range strings.Lines(out) {
		f := strings.Fields(line)
		got[f[0]] = strings.Join(f[1:], " ")
	}
	for name, want := range map[string]string{
		"NAME": "VALUE ORIGIN", "hostname": "b box.yaml", "network.eth0.addresses": "192.0.2.1/24 box.yaml", "ntp.disabled": "- site.yaml",
		"network.eth0.routes": "default via 192.0.2.254, 198.51.100.0/24 via 203.0.113.1 metric 5 onlink box.yaml",
		"proxy.http":          "http://(hidden)@p.example:1 site.yaml", "kubesolo.extra-env.TOKEN": "(hidden) site.yaml", "kubesolo.runtime": "external defaults",
		"write-files./run/x": "mode 0600 site.yaml", "sysctl.vm.swappiness": "1 site.yaml", "kubesolo.debug": "false -",
	} {
		if got[name] != want {
			t.Errorf("%s: %q, want %q", name, got[name], want)
		}
	}
}

func TestSchemaIsThePublishedOne(t *testing.T) {
	want, err := os.ReadFile("../../docs/cloud-init.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	if got, _, _ := ksctl(t, "", "", "config", "schema"); got != string(want) {
		t.Error("ksctl config schema does not print docs/cloud-init.schema.json")
	}
}

// TestDocumentedCommands runs what docs/configuration.md shows: in its blocks
// "console", "$ cat FILE" makes the file, and what follows any other command is
// what it prints.
func TestDocumentedCommands(t *testing.T) {
	text, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	examples, err := filepath.Abs("../../docs/examples")
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	if err := os.Symlink(examples, "examples"); err != nil {
		t.Fatal(err)
	}
	commands := 0
	for _, part := range strings.Split(string(text), "```console\n")[1:] {
		block, _, ok := strings.Cut(part, "```\n")
		if !ok {
			t.Fatal("a block has no end")
		}
		for _, step := range strings.Split("\n"+block, "\n$ ")[1:] {
			line, want, _ := strings.Cut(step, "\n")
			words := strings.Fields(line)
			switch words[0] {
			case "cat":
				write(t, map[string]string{words[1]: strings.TrimRight(want, "\n") + "\n"})
			case "ksctl":
				commands++
				out, errs, _ := ksctl(t, "", "", words[1:]...)
				if strings.TrimRight(out+errs, "\n") != strings.TrimRight(want, "\n") {
					t.Errorf("%s\nprints\n%s%s\nthe document says\n%s", line, out, errs, want)
				}
			default:
				t.Errorf("%q cannot be run here", line)
			}
		}
	}
	if commands < 3 {
		t.Errorf("only %d commands were run", commands)
	}
}
