package kube

import (
	"bytes"
	"encoding/json"
	"strings"
	"time"

	"kubesolo.io/os/internal/update"
)

// Where the objects are.
const (
	group      = "os.kubesolo.io"
	apiVersion = group + "/v1alpha1"
	objectsURL = "/apis/" + apiVersion + "/osupdates"
)

// object is an OSUpdate as far as it is of use here.
type object struct {
	Metadata metadata `json:"metadata"`
	Spec     spec     `json:"spec"`
	Status   status   `json:"status"`
}

type metadata struct {
	Name              string     `json:"name"`
	UID               string     `json:"uid"`
	ResourceVersion   string     `json:"resourceVersion"`
	Generation        int64      `json:"generation"`
	CreationTimestamp time.Time  `json:"creationTimestamp"`
	DeletionTimestamp *time.Time `json:"deletionTimestamp"`
}

type spec struct {
	Version string `json:"version"`
	Channel string `json:"channel"`
	Source  string `json:"source"`
	Window  string `json:"window"`
	Force   bool   `json:"force"`
}

// status has no field that is left out when it is empty: a merge patch would not
// clear it then. A nil time is null, which removes the field.
type status struct {
	ObservedGeneration int64       `json:"observedGeneration"`
	Phase              phase       `json:"phase"`
	Version            string      `json:"version"`
	Progress           string      `json:"progress"`
	Message            string      `json:"message"`
	Attempt            int         `json:"attempt"`
	StartedAt          *time.Time  `json:"startedAt"`
	FinishedAt         *time.Time  `json:"finishedAt"`
	Conditions         []condition `json:"conditions"`
}

// phase is that of update.State, or pending.
type phase = update.Phase

// pending: it has not been ordered, or the order was not taken yet.
const pending phase = "pending"

func final(p phase) bool { return p == update.Good || p == update.RolledBack || p == update.Failed }

type condition struct {
	Type               string    `json:"type"`
	Status             string    `json:"status"`
	ObservedGeneration int64     `json:"observedGeneration"`
	LastTransitionTime time.Time `json:"lastTransitionTime"`
	Reason             string    `json:"reason"`
	Message            string    `json:"message"`
}

// Reasons of conditions beyond the phases.
const (
	reasonWaiting   = "Waiting"        // for its turn
	reasonOrdered   = "Ordered"        // about to be handed over
	reasonNotTaken  = "NotTaken"       // and is tried again
	reasonRejected  = "Rejected"       // for good
	reasonRuns      = "AlreadyRunning" // nothing to do
	reasonCancelled = "Cancelled"
	reasonLost      = "Lost"
)

// reasonOf names a phase as reasons of Kubernetes are.
func reasonOf(p phase) string {
	switch p {
	case update.Downloading:
		return "Downloading"
	case update.Staged:
		return "Staged"
	case update.Armed:
		return "Armed"
	case update.Judging:
		return "Judging"
	case update.Good:
		return "Installed"
	case update.RolledBack:
		return "RolledBack"
	case update.Failed:
		return "Failed"
	}
	return reasonWaiting
}

// maxMessage is what a condition may say, in bytes; reasons come from servers and
// kernels.
const maxMessage = 1024

// with gives the status of a phase for the generation of the object. What does
// not change its state keeps the time since which it has it.
func (o object) with(p phase, reason, message string, now time.Time) status {
	message = clip(message)
	s := status{ObservedGeneration: o.Metadata.Generation, Phase: p, Message: message}
	available, progressing, degraded, succeeded := "Unknown", "False", "False", "Unknown"
	switch {
	case p == update.Good:
		available, succeeded = "True", "True"
	case p == update.RolledBack:
		available, degraded, succeeded = "True", "True", "False"
	case p == update.Failed:
		available, degraded, succeeded = "False", "True", "False"
	case p.Busy():
		available, progressing = "True", "True"
	}
	for _, c := range []condition{{Type: "Available", Status: available}, {Type: "Progressing", Status: progressing},
		{Type: "Degraded", Status: degraded}, {Type: "Succeeded", Status: succeeded}} {
		c.ObservedGeneration, c.Reason, c.Message = o.Metadata.Generation, reason, message
		c.LastTransitionTime = *second(now)
		for _, old := range o.Status.Conditions {
			if old.Type == c.Type && old.Status == c.Status {
				c.LastTransitionTime = old.LastTransitionTime
			}
		}
		s.Conditions = append(s.Conditions, c)
	}
	return s
}

// same says whether nothing would change.
func (s status) same(other status) bool {
	a, errA := json.Marshal(s)
	b, errB := json.Marshal(other)
	return errA == nil && errB == nil && bytes.Equal(a, b)
}

func clip(s string) string {
	if len(s) <= maxMessage {
		return s
	}
	return strings.ToValidUTF8(s[:maxMessage], "") // the cut may be in a letter
}

// second is a time as Kubernetes keeps it; nil for none.
func second(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC().Truncate(time.Second)
	return &t
}
