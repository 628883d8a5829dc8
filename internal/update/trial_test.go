package update

import (
	"strings"
	"testing"
	"time"

	"kubesolo.io/os/internal/health"
)

func TestTrial(t *testing.T) {
	begin := time.Unix(1_800_000_000, 0)
	ok := health.Report{{Name: health.API, State: health.OK}, {Name: health.Node, State: health.OK}, {Name: health.CoreDNS, State: health.OK}}
	sick := health.Report{{Name: health.API, State: health.OK}, {Name: health.Node, State: health.Bad, Message: "not ready"}, {Name: health.CoreDNS, State: health.OK}}
	trial := Trial{For: 30 * time.Second}
	for _, step := range []struct {
		at      int
		e       Evidence
		passed  bool
		waiting string
	}{
		{0, Evidence{Engine: 7}, false, "api; node; coredns"},
		{10, Evidence{Health: ok}, false, "kubesolo does not run"},
		{20, Evidence{Health: ok, Engine: 7}, false, "healthy for 0s of 30s"},
		{49, Evidence{Health: ok, Engine: 7}, false, "healthy for 29s of 30s"},
		{50, Evidence{Health: sick, Engine: 7}, false, "node: not ready"},
		{51, Evidence{Health: ok, Engine: 7}, false, "healthy for 0s"},
		{80, Evidence{Health: ok, Engine: 8}, false, "healthy for 0s"}, // another process
		{90, Evidence{Health: ok, Engine: 8, Data: "read-only"}, false, "data: read-only"},
		{91, Evidence{Health: ok, Engine: 8, Pods: "coredns-1 is Pending", Probe: "503"}, false, "pods: coredns-1 is Pending; probe: 503"},
		{92, Evidence{Health: ok, Engine: 8}, false, "healthy for 0s"},
		{121, Evidence{Health: ok, Engine: 8}, false, "healthy for 29s"},
		{122, Evidence{Health: ok, Engine: 8}, true, ""},
	} {
		step.e.Now = begin.Add(time.Duration(step.at) * time.Second)
		passed, waiting := trial.See(step.e)
		if passed != step.passed || !strings.HasPrefix(waiting, step.waiting) {
			t.Errorf("after %d s: %t %q, want %t %q", step.at, passed, waiting, step.passed, step.waiting)
		}
	}
}
