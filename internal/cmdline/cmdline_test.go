package cmdline

import (
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for _, tc := range []struct {
		name, line string
		want       Args
		warnings   []string
	}{
		{"empty", "", Args{Data: "auto"}, nil},
		{"foreign arguments only", "quiet console=ttyS0,115200 root=/dev/sda1\n", Args{Data: "auto"}, nil},
		{"all", "quiet kubesolo.data=LABEL=KSOLODATA kubesolo.nopersist kubesolo.debug=1 kubesolo.shell " +
			"kubesolo.slot=B kubesolo.trial kubesolo.cloudinit=http://10.0.2.2/c.yaml kubesolo.hostname=box-1 kubesolo.ip=dhcp kubesolo.install=/dev/vda",
			Args{Data: "LABEL=KSOLODATA", NoPersist: true, Debug: true, Shell: true, Slot: "B", Trial: true,
				CloudInit: "http://10.0.2.2/c.yaml", Hostname: "box-1", IP: "dhcp", Install: "/dev/vda"}, nil},
		{"last one wins", "kubesolo.debug kubesolo.debug=off kubesolo.data=/dev/sda1 kubesolo.data=/dev/sdb1",
			Args{Data: "/dev/sdb1"}, nil},
		{"quotes keep blanks", `kubesolo.cloudinit="/data/my file.yaml" "kubesolo.hostname=box"`,
			Args{Data: "auto", CloudInit: "/data/my file.yaml", Hostname: "box"}, nil},
		{"init's own arguments", "kubesolo.debug -- kubesolo.shell", Args{Data: "auto", Debug: true}, nil},
		{"shell policy", "kubesolo.shell=on-failure", Args{Data: "auto", ShellOnFailure: true}, nil},
		{"typing error", "kubesolo.nopersit", Args{Data: "auto"},
			[]string{"kubesolo.nopersit: is not known, ignored; did you mean kubesolo.nopersist?"}},
		{"far from all", "kubesolo.frobnicate=1", Args{Data: "auto"},
			[]string{"kubesolo.frobnicate: is not known, ignored; known are kubesolo.data, kubesolo.nopersist"}},
		{"bad values", "kubesolo.slot=C kubesolo.debug=maybe kubesolo.data=sda1 kubesolo.hostname=Box_1 kubesolo.install=vda kubesolo.ip",
			Args{Data: "auto"},
			[]string{
				`kubesolo.slot: value "C" is neither A nor B`, `kubesolo.debug: value "maybe" is neither`,
				`kubesolo.data: value "sda1" is not auto`, `kubesolo.hostname: value "Box_1" is not a host name`,
				`kubesolo.install: value "vda" is not a path`, `kubesolo.ip: has no value`,
			}},
		{"empty tag", "kubesolo.data=LABEL=", Args{Data: "auto"}, []string{`kubesolo.data: value "LABEL="`}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.want.Raw = strings.TrimRight(tc.line, "\n")
			got, warnings := Parse(tc.line)
			if got != tc.want {
				t.Errorf("got  %+v\nwant %+v", got, tc.want)
			}
			if len(warnings) != len(tc.warnings) {
				t.Fatalf("warnings %q, want %q", warnings, tc.warnings)
			}
			for i, w := range warnings {
				if !strings.HasPrefix(w.String(), tc.warnings[i]) {
					t.Errorf("warning %q, want %q", w, tc.warnings[i])
				}
			}
		})
	}
}

func TestEveryKnownArgumentIsAccepted(t *testing.T) {
	values := map[string]string{"nopersist": "1", "debug": "1", "shell": "1", "slot": "A", "trial": "1", "data": "/dev/vda",
		"cloudinit": "/x", "hostname": "h", "ip": "dhcp", "install": "/dev/vda"}
	for _, name := range known() {
		got, warnings := Parse(prefix + name + "=" + values[name])
		if len(warnings) > 0 {
			t.Errorf("%s: %q", name, warnings)
		}
		got.Raw = ""
		if got == (Args{Data: "auto"}) {
			t.Errorf("%s has no effect", name)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("quiet kubesolo.debug kubesolo.data=LABEL=X -- y")
	f.Add(`kubesolo.cloudinit="a b" kubesolo.="x`)
	f.Add("kubesolo.slot=A\x00\n")
	f.Fuzz(func(t *testing.T, line string) {
		args, warnings := Parse(line)
		if args.Slot != "" && args.Slot != "A" && args.Slot != "B" {
			t.Errorf("slot %q", args.Slot)
		}
		if args.Data == "" || checkData(args.Data) != "" {
			t.Errorf("data %q", args.Data)
		}
		if args.Hostname != "" && !isHostname(args.Hostname) {
			t.Errorf("hostname %q", args.Hostname)
		}
		if n := len(words(line)); len(warnings) > n {
			t.Errorf("%d warnings for %d words", len(warnings), n)
		}
		again, _ := Parse(args.Raw)
		if again != args {
			t.Errorf("parsing Raw again gave %+v, first %+v", again, args)
		}
	})
}
