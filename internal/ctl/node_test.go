package ctl_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kubesolo.io/os/internal/control"
	"kubesolo.io/os/internal/ctl"
	"kubesolo.io/os/internal/event"
)

// answers is a node that gives fixed answers.
type answers map[string][]string

func (a answers) Handle(_ context.Context, r control.Request, send func(any) error) error {
	list, ok := a[r.Verb]
	if !ok {
		return errors.New("not on this node")
	}
	for _, answer := range list {
		if err := send(json.RawMessage(answer)); err != nil {
			return err
		}
	}
	return nil
}

// node is a directory that looks like a node's root, with somebody at its
// control socket.
func node(t *testing.T, a answers) ctl.Program {
	t.Helper()
	root := t.TempDir()
	l, err := control.Listen(filepath.Join(root, "run/ksinit/control.sock"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() { _ = control.Serve(l, a) }()
	return ctl.Program{RunDir: filepath.Join(root, "run/ksinit"), Root: root}
}

func run(p ctl.Program, args ...string) (stdout, stderr string, status int) {
	var out, complaints bytes.Buffer
	p.Stdout, p.Stderr = &out, &complaints
	status = p.Run(args)
	return out.String(), complaints.String(), status
}

func put(t *testing.T, root string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

const (
	statusAnswer = `{"hostname":"kubesolo","version":"0.1.0 (4f0c2ab19d77)","kernel":"6.12.57+deb13-amd64","slot":"A","uptime":93.4,"state":"degraded",` +
		`"ready":"v1.34.2","readyAt":48.61,"waiting":["service kubesolo (backoff)"],` +
		`"problems":[{"time":3.4,"source":"step network","message":"no answer\nfrom any server"}],` +
		`"lastError":{"time":90.2,"source":"service kubesolo","message":"killed by SIGKILL"},` +
		`"health":[{"name":"coredns","state":"ok","since":48},{"name":"api","state":"bad","since":91,"message":"connection refused"}],` +
		`"nodeIP":"10.0.2.15","addresses":["10.0.2.15/24"]}`
	servicesAnswer = `[{"name":"containerd","state":"ready","pid":212,"since":3.1,"starts":1,"failures":0},` +
		`{"name":"kubesolo","state":"backoff","since":90.2,"starts":2,"failures":1,"error":"killed by SIGKILL","later":"ignored"}]`
)

func TestTables(t *testing.T) {
	p := node(t, answers{
		control.VerbStatus: {statusAnswer}, control.VerbServices: {servicesAnswer},
		control.VerbTimeline: {`[{"name":"filesystems","state":"ok","start":1.02,"duration":0.03},` +
			`{"name":"network","state":"degraded","start":1.5,"duration":30,"message":"no answer"}]`},
		control.VerbNetwork: {`{"ready":true,"links":[{"name":"eth0","mac":"52:54:00:12:34:56","driver":"virtio_net","mtu":1500,"up":true,"carrier":true,` +
			`"addrs":[{"prefix":"10.0.2.15/24","ours":true}]},{"name":"eth1","mtu":1500,"up":true,"speed":1000}],"gateway":"10.0.2.2",` +
			`"dns":["10.0.2.3"],"node-ip":"10.0.2.15","node-ip-source":"kept"}`},
		control.VerbEvents: {`{"time":1.5,"type":"step","name":"network","state":"started"}`, `{"time":48.6,"type":"ready","name":"node","message":"v1"}`},
	})
	for _, test := range []struct {
		args, want string
		status     int
	}{
		{"status", `node          kubesolo
state         degraded, ready 49s after the start
waiting for   service kubesolo (backoff)
version       KubeSolo OS 0.1.0 (4f0c2ab19d77), kernel 6.12.57+deb13-amd64
slot          A
up            1m33s
addresses     10.0.2.15/24
node address  10.0.2.15
problem       step network, 3.4s after the start: no answer ...
last error    service kubesolo, 1m30s after the start: killed by SIGKILL
health        coredns: ok
health        api: bad, connection refused

SERVICE     STATE    FOR    PID  STARTS  FAILURES  ERROR
containerd  ready    1m30s  212  1       0         -
kubesolo    backoff  3.2s   -    2       1         killed by SIGKILL
`, 1},
		{"services", `SERVICE     STATE    FOR    PID  STARTS  FAILURES  ERROR
containerd  ready    1m30s  212  1       0         -
kubesolo    backoff  3.2s   -    2       1         killed by SIGKILL
`, 1},
		{"timeline", `START  TOOK   STATE     WHAT         MESSAGE
1.02   0.03   ok        filesystems  -
1.50   30.00  degraded  network      no answer
`, 1},
		{"network", `LINK  STATE       ADDRESSES     MAC                MTU   DRIVER      SPEED
eth0  up          10.0.2.15/24  52:54:00:12:34:56  1500  virtio_net  -
eth1  no carrier  -             -                  1500  -           1000 Mbit/s

gateway       10.0.2.2
name servers  10.0.2.3
search        -
time servers  -
node address  10.0.2.15 (kept)
`, 0},
		{"events", "[    1.50] started   step network\n[   48.60]           ready node: v1\n", 0},
	} {
		out, complaints, status := run(p, test.args)
		if out != test.want || status != test.status || complaints != "" {
			t.Errorf("%s: status %d, %s\ngot\n%s\nwant\n%s", test.args, status, complaints, out, test.want)
		}
		if out, _, status := run(p, test.args, "-o", "json"); status != test.status || !json.Valid([]byte(strings.ReplaceAll(out, "}\n{", "},{"))) &&
			test.args != "events" {
			t.Errorf("%s -o json: status %d\n%s", test.args, status, out)
		}
	}
	out, _, _ := run(p, "status")
	if doc, err := os.ReadFile("../../docs/operate.md"); err != nil || !strings.Contains(string(doc), "```text\n"+out+"```\n") {
		t.Errorf("docs/operate.md does not show what ksctl status prints (%v)", err)
	}
	// What an older ksctl does not know is in the JSON all the same.
	if out, _, _ := run(p, "services", "-o", "json"); !strings.Contains(out, `"later": "ignored"`) {
		t.Errorf("services -o json:\n%s", out)
	}
}

func TestNodeRefuses(t *testing.T) {
	p := node(t, answers{control.VerbReboot: nil})
	nowhere := ctl.Program{RunDir: t.TempDir(), Root: t.TempDir()}
	laptop := ctl.Program{RunDir: "/nonexistent/ksinit"}
	for _, test := range []struct {
		program ctl.Program
		args    string
		status  int
		want    string
	}{
		{nowhere, "status", 2, "no control socket: is this a node?"},
		{nowhere, "restart kubesolo", 2, "is this a node?"},
		{nowhere, "logs", 2, "dev/kmsg"},
		{nowhere, "logs kubesolo", 2, `no log of "kubesolo"; there are -`},
		{laptop, "audit", 2, "ksctl: audit works on a node only, and looks at the one it runs on: stat /nonexistent/ksinit: no such file or directory\n"},
		{p, "audit -o xml", 2, "it is table, json or snapshot"},
		{p, "audit now", 2, `takes no argument "now"`},
		{p, "status", 2, "refused: not on this node"},
		{p, "status now", 2, `takes no argument "now"`},
		{p, "status -o xml", 2, "it is table or json"},
		{p, "restart", 2, "wants one SERVICE"},
		{p, "restart kubesolo", 1, "refused: not on this node"},
		{p, "reboot now", 2, `takes no argument "now"`},
		{p, "support", 2, "wants one FILE"},
		{p, "support /nonexistent/x", 2, "no such file"},
		{p, "logs --previous-boot", 2, "no log of the boot before"},
		{p, "logs --previous-boot -f", 2, "that boot is over"},
		{p, "logs a b", 2, `not also "b"`},
		{p, "logs -n -1", 2, "number of lines"},
		{p, "logs --kernel a", 2, "without SERVICE"},
		{p, "logs ../../etc/shadow", 2, "no log of"},
	} {
		out, complaints, status := run(test.program, strings.Fields(test.args)...)
		if status != test.status || !strings.Contains(complaints, test.want) || out != "" {
			t.Errorf("%s: status %d, %q, %q", test.args, status, out, complaints)
		}
	}
	if out, _, status := run(p, "reboot"); status != 0 || !strings.Contains(out, "restarts") {
		t.Errorf("reboot: %d, %s", status, out)
	}
}

// An empty root keeps none of the promises: each is in the table, and counted.
func TestAudit(t *testing.T) {
	p := node(t, nil)
	put(t, p.Root, map[string]string{"proc/sys/kernel/sysrq": "1\n"})
	out, complaints, status := run(p, "audit")
	if status != 1 || complaints != "" || !strings.HasPrefix(out, "STATE ") || !strings.Contains(out, " passed, ") || !strings.Contains(out, "kernel.sysrq") {
		t.Errorf("audit: %d, %s\n%s", status, complaints, out)
	}
	var got struct{ Failed int }
	if out, _, status := run(p, "audit", "-o", "json"); status != 1 || json.Unmarshal([]byte(out), &got) != nil || got.Failed == 0 {
		t.Errorf("audit -o json: %d, %s", status, out)
	}
	var snapshot struct{ Texts map[string]string }
	if out, _, status := run(p, "audit", "-o", "snapshot"); status != 0 || json.Unmarshal([]byte(out), &snapshot) != nil || snapshot.Texts["/proc/sys/kernel/sysrq"] != "1" {
		t.Errorf("audit -o snapshot: %d, %s", status, out)
	}
}

// Secrets planted everywhere a bundle looks, in all the forms in which programs
// print them: none may come out.
func TestSupportHidesSecrets(t *testing.T) {
	const jwt = "eyJhbGciOiJSUzI1NiIsImtpZCI6Im.eyJpc3MiOiJrdWJlcm5ldGVz.c2lnbmF0dXJl-_x"
	e := event.Event{Type: "service", Name: "kubesolo", State: "exited", Message: `edge key planted-edge-key" refused`}
	p := node(t, answers{
		control.VerbServices: {`[{"name":"kubesolo","state":"ready","pid":77}]`},
		control.VerbStatus:   {`{"state":"ready","lastError":{"message":"proxy http://user:planted-proxy@10.0.0.1:3128 refused"}}`},
		control.VerbEvents:   {string(event.Encode(e))},
	})
	put(t, p.Root, map[string]string{
		"run/ksinit/config.json":        `{"kubesolo":{"extra-env":{"KUBESOLO_VALUE":"(hidden)"}}}`,
		"run/ksinit/origins.json":       `{}`,
		"run/ksinit/registry-auth.json": `{"auths":{"r":{"username":"node","password":"planted-registry"},"s":{"auth":"bm9kZTpwbGFudGVkLWJhc2U2NA=="},"t":{"identitytoken":"planted-identity"}}}`,
		"var/log/ksagent.log":           "node, planted-registry, bm9kZTpwbGFudGVkLWJhc2U2NA==, planted-base64, planted-identity\nof the agent\n",
		"proc/77/environ": "PATH=/bin\x00KUBESOLO_PORTAINER_EDGE_KEY=planted-edge-key\"\x00KUBESOLO_VALUE=planted-extra\x00" +
			"MY_VALUE=planted-more\x00KUBESOLO_PATH=/var/lib/kubesolo\x00",
		"proc/77/status":            "Name:\tkubesolo\nState:\tS (sleeping)\nPPid:\t1\nThreads:\t9\nVmRSS:\t  1000 kB\n",
		"proc/cmdline":              "kubesolo.cloudinit=https://user:planted-url@host/x quiet",
		"var/log/containerd.log":    "authorization: Basic planted-basic\nAuthorization: Bearer planted-bearer\n{\"identitytoken\":\"planted-json\"}\n",
		"var/log/kubesolo.log.1":    "using planted-extra, planted-more, /var/lib/kubesolo and " + jwt + "\npassword=planted-password --token planted-flag\nbearer planted-lower\n",
		"var/log/kubesolo.log":      "-----BEGIN EC PRIVATE KEY-----\nplanted-pem\n-----END EC PRIVATE KEY-----\nafter the key\nclient-key-data: planted-key-data\n",
		"etc/os-release":            "ID=kubesolo-os\n",
		"etc/kubesolo-os/engine":    "solonode\n",
		"data/cloud-init.yaml":      "planted-file",
		"proc/1/mountinfo":          "mounts\n",
		"run/ksinit/last-boot.json": `{"reason":"panic"}`,
		"var/log/pstore-1/dmesg":    "Panic#1 token=planted-in-memory\n",
		"var/log/pods/x/secret":     "planted-pod-log",
		"var/lib/kubesolo/pki/key":  "planted-pki",
	})
	file := filepath.Join(t.TempDir(), "node.tar.gz")
	_, complaints, status := run(p, "support", file)
	if status != 0 {
		t.Fatalf("status %d, %s", status, complaints)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v: want 0600", info, err)
	}
	text := ""
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	zip, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	for in := tar.NewReader(zip); ; {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(in)
		if err != nil {
			t.Fatal(err)
		}
		text += "=== " + h.Name + "\n" + string(b)
	}
	for line := range strings.Lines(text) {
		if strings.Contains(line, "planted") || strings.Contains(line, jwt[10:30]) || strings.Contains(line, "bm9kZT") {
			t.Errorf("in the bundle: %s", line)
		}
	}
	for _, want := range []string{"=== kubesolo-support/logs/kubesolo.log.1", "after the key", "node, (hidden), ", "of the agent", "ID=kubesolo-os", "rss 1000 kB kubesolo",
		"network.json: refused: not on this node", "=== kubesolo-support/system/proc_1_mountinfo", ", /var/lib/kubesolo and", `{"reason":"panic"}`, "Panic#1", "solonode", "(hidden)@10.0.0.1:3128"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in the bundle:\n%s", want, text)
		}
	}
	if _, complaints, status := run(p, "support", file); status != 2 || !strings.Contains(complaints, "file exists") {
		t.Errorf("over a file: %d, %s", status, complaints)
	}
}
