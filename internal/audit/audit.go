package audit

import "slices"

// State is what became of a check.
type State string

// States of a Result.
const (
	Pass State = "pass"
	Fail State = "fail"
	// Exempt is what other lists ask for and this system leaves as it is,
	// or what this kernel has no switch for.
	Exempt State = "exempt"
)

// A Check is one promise.
type Check struct {
	Group     string // which kind: "kernel setting", "mount", ...
	Name      string
	Source    string // where it is read
	Want      string
	Why       string
	Reference string // who else asks for it
	judge     func(Snapshot) verdict
}

// verdict is what a judge found. reason says why it is not as wanted.
type verdict struct {
	state  State
	got    string
	reason string
}

// A Result is a check and what was found.
type Result struct {
	Group  string `json:"group"`
	Name   string `json:"name"`
	State  State  `json:"state"`
	Want   string `json:"want,omitempty"`
	Got    string `json:"got,omitempty"`
	Reason string `json:"reason"`
}

// A Report has one Result for every check and every exemption.
type Report []Result

// Failed are the results that are not as promised.
func (r Report) Failed() Report {
	return slices.DeleteFunc(slices.Clone(r), func(r Result) bool { return r.State != Fail })
}

// Checks is the whole list, in the order of the report.
func Checks() []Check {
	return slices.Concat(settings(), arguments(), mounts(), services(), ports(), files())
}

// Evaluate judges a snapshot by all checks. What could not be read fails.
func Evaluate(s Snapshot) Report {
	var out Report
	for _, c := range Checks() {
		v := c.judge(s)
		r := Result{Group: c.Group, Name: c.Name, State: v.state, Want: c.Want, Got: v.got, Reason: v.reason}
		if v.state == Pass {
			r.Reason = c.Why
		}
		out = append(out, r)
	}
	for _, e := range Exemptions() {
		out = append(out, Result{Group: e.Group, Name: e.Name, State: Exempt, Reason: e.Reason})
	}
	return out
}

func pass(got string) verdict { return verdict{state: Pass, got: got} }

func fail(got, reason string) verdict { return verdict{state: Fail, got: got, reason: reason} }
