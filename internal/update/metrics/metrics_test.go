package metrics

import (
	"context"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"kubesolo.io/os/internal/audit"
	"kubesolo.io/os/internal/control"
	"kubesolo.io/os/internal/update"
)

// scraped serves a status, and gives the address; the server ends with the test.
func scraped(t *testing.T, s update.Status, ready bool) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- serve(ctx, l, func() update.Status { return s }, func() bool { return ready }) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return "http://" + l.Addr().String()
}

func get(t *testing.T, method, url string) (code int, header http.Header, text string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, answer.Header, string(body)
}

// parsed is a scrape as a reader of the format has it.
type parsed struct {
	help, kind map[string]string
	series     map[string]float64 // with their labels
}

// parse takes the text apart, and complains of what the format (Prometheus text
// format 0.0.4) does not allow, or promlint would report.
func parse(t *testing.T, text string) parsed {
	t.Helper()
	p := parsed{map[string]string{}, map[string]string{}, map[string]float64{}}
	if !strings.HasSuffix(text, "\n") {
		t.Error("the last line has no end")
	}
	line := regexp.MustCompile(`^([a-z][a-z0-9_]*)(\{(?:[a-z][a-z0-9_]*="(?:[^"\\\n]|\\["\\n])*",?)+\})? ([0-9.]+)$`)
	family := ""
	for row := range strings.Lines(text) {
		row = strings.TrimSuffix(row, "\n")
		words := strings.SplitN(row, " ", 4)
		switch {
		case strings.HasPrefix(row, "# HELP "):
			family = words[2]
			if p.help[family] != "" || len(words) < 4 || !strings.HasSuffix(words[3], ".") {
				t.Errorf("%q: a second one, or it says nothing", row)
			}
			p.help[family] = words[3]
		case strings.HasPrefix(row, "# TYPE "):
			if words[2] != family || p.kind[family] != "" {
				t.Errorf("%q does not follow its help", row)
			}
			p.kind[family] = words[3]
		default:
			m := line.FindStringSubmatch(row)
			if m == nil || m[1] != family || p.kind[family] == "" {
				t.Errorf("%q is no series of %s", row, family)
				continue
			}
			if _, twice := p.series[m[1]+m[2]]; twice {
				t.Errorf("%s is there twice", m[1]+m[2])
			}
			v, err := strconv.ParseFloat(m[3], 64)
			if err != nil {
				t.Error(err)
			}
			p.series[m[1]+m[2]] = v
		}
	}
	for name, kind := range p.kind {
		if kind != "gauge" && kind != "counter" {
			t.Errorf("%s is a %s", name, kind)
		}
		if (kind == "counter") != strings.HasSuffix(name, "_total") {
			t.Errorf("%s is a %s: counters, and only they, end with _total", name, kind)
		}
		if strings.Contains(name, "timestamp") && !strings.HasSuffix(name, "_timestamp_seconds") {
			t.Errorf("%s has no unit", name)
		}
		if !strings.HasPrefix(name, "kubesolo_") || strings.Contains(name, "_gauge") || strings.Contains(name, "_count") || strings.HasSuffix(name, "_info") != (name == "kubesolo_os_info") {
			t.Errorf("%s: its name is not as it should be", name)
		}
	}
	return p
}

func TestScrape(t *testing.T) {
	at := time.Unix(1_800_000_000, 250_000_000)
	url := scraped(t, update.Status{
		Version: "0.1.0", Done: 63_084_000, Total: 150_200_000,
		Slots: control.Slots{Running: "A"},
		State: update.State{Phase: update.RolledBack, Attempts: 7, RollBacks: 2, Passed: at, Checked: at.Add(time.Minute), Refused: make([]update.Refusal, 3),
			History: []update.Entry{{Phase: update.RolledBack, Message: "left by ksctl"}, {Phase: update.RolledBack, Message: "not found good within 10m0s"}}},
		Available: &update.Available{Version: "0.2.0 \"quoted\" \\ and\nbroken \xff"},
	}, true)
	code, header, text := get(t, http.MethodGet, url+"/metrics")
	if code != 200 || header.Get("Content-Type") != contentType {
		t.Errorf("%d, %v", code, header)
	}
	want := map[string]float64{
		`kubesolo_os_info{version="0.1.0",slot="A"}`: 1,
		`kubesolo_ready`:                                                                        1,
		`kubesolo_update_phase{phase="idle"}`:                                                   0,
		`kubesolo_update_phase{phase="downloading"}`:                                            0,
		`kubesolo_update_phase{phase="staged"}`:                                                 0,
		`kubesolo_update_phase{phase="armed"}`:                                                  0,
		`kubesolo_update_phase{phase="judging"}`:                                                0,
		`kubesolo_update_phase{phase="good"}`:                                                   0,
		`kubesolo_update_phase{phase="rolled-back"}`:                                            1,
		`kubesolo_update_phase{phase="failed"}`:                                                 0,
		`kubesolo_update_attempts_total`:                                                        7,
		`kubesolo_update_rollback_reason{reason="panic"}`:                                       0,
		`kubesolo_update_rollback_reason{reason="watchdog"}`:                                    0,
		`kubesolo_update_rollback_reason{reason="tries"}`:                                       0,
		`kubesolo_update_rollback_reason{reason="loading"}`:                                     0,
		`kubesolo_update_rollback_reason{reason="crash-loop"}`:                                  0,
		`kubesolo_update_rollback_reason{reason="deadline"}`:                                    1,
		`kubesolo_update_rollback_reason{reason="by-hand"}`:                                     0,
		`kubesolo_update_rollback_reason{reason="other"}`:                                       0,
		`kubesolo_update_rollbacks_total`:                                                       2,
		`kubesolo_update_last_success_timestamp_seconds`:                                        1_800_000_000.25,
		`kubesolo_update_last_check_timestamp_seconds`:                                          1_800_000_060.25,
		`kubesolo_update_available{version="0.2.0 \"quoted\" \\ and\nbroken ` + "\ufffd" + `"}`: 1,
		`kubesolo_update_download_bytes`:                                                        63_084_000,
		`kubesolo_update_download_total_bytes`:                                                  150_200_000,
		`kubesolo_update_refused_versions`:                                                      3,
	}
	got := parse(t, text)
	if !maps.Equal(got.series, want) {
		t.Errorf("got %v\nwant %v", got.series, want)
	}
	doc, err := os.ReadFile("../../../docs/updates-use.md")
	if err != nil {
		t.Fatal(err)
	}
	for name, kind := range got.kind {
		if !regexp.MustCompile("(?m)^\\| `" + name + "(\\{[a-z,]+\\})?` \\| " + kind + " \\|").Match(doc) {
			t.Errorf("docs/updates-use.md has no row of %s, a %s", name, kind)
		}
	}
	for _, c := range update.Causes() {
		if !strings.Contains(string(doc), "| `"+string(c)+"` | ") {
			t.Errorf("docs/updates-use.md does not explain the reason %s", c)
		}
	}
	// Never looked is not looked too long ago.
	if !strings.Contains(string(doc), "time() - (kubesolo_update_last_check_timestamp_seconds > 0) > ") {
		t.Error("the alert of docs/updates-use.md fires where nothing was looked for yet")
	}
	for _, other := range []struct {
		method, path string
		code         int
	}{{http.MethodHead, "/metrics", 200}, {http.MethodPost, "/metrics", 405}, {http.MethodGet, "/", 404}, {http.MethodGet, "/metrics/x", 404}} {
		if code, _, body := get(t, other.method, url+other.path); code != other.code || strings.Contains(body, "kubesolo") {
			t.Errorf("%s %s: %d, %q", other.method, other.path, code, body)
		}
	}
}

// A node that was never updated has every series, too.
func TestFirstScrape(t *testing.T) {
	_, _, text := get(t, http.MethodGet, scraped(t, update.Status{State: update.State{Phase: update.Idle}}, false)+"/metrics")
	p := parse(t, text)
	for name, v := range p.series {
		if is := name == `kubesolo_os_info{version="",slot=""}` || name == `kubesolo_update_phase{phase="idle"}`; is != (v == 1) || !is && v != 0 {
			t.Errorf("%s %v", name, v)
		}
	}
	if len(p.series) != 26 || len(p.kind) != 12 {
		t.Errorf("%d series of %d metrics", len(p.series), len(p.kind))
	}
}

func TestRun(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := Run(t.Context(), l.Addr().String(), nil, nil); err == nil || !strings.Contains(err.Error(), l.Addr().String()) {
		t.Errorf("a port that is taken: %v", err)
	}
	host, port, err := net.SplitHostPort(Address)
	if err != nil || !net.ParseIP(host).IsLoopback() {
		t.Errorf("%s, %v", Address, err)
	}
	if !slices.ContainsFunc(audit.Ports(), func(p audit.Port) bool {
		return p.Protocol == "tcp" && strconv.Itoa(int(p.Number)) == port && p.Owner == "ksagent" && p.Loopback
	}) {
		t.Errorf("the audit does not know port %s", port)
	}
}
