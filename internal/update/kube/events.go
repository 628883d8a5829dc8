package kube

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"

	"kubesolo.io/os/internal/atomicfile"
	"kubesolo.io/os/internal/kubeapi"
	"kubesolo.io/os/internal/update"
)

const (
	nodesURL = "/api/v1/nodes"
	// eventsURL is where the events of objects without a namespace are.
	eventsURL = "/api/v1/namespaces/default/events"
	// maxEvents bounds what one round tells: the whole history of a node whose
	// API was away for long comes over several.
	maxEvents = 20
)

// untold are the entries of the history after the last that was told. After a way
// back it begins with the download of the version that failed: the API's database
// may be the copy from before the restart, and has none of what was told since.
// That is no harm where it has, since an event has the same name each time.
func untold(history []update.Entry, last update.Entry) []update.Entry {
	from := 0
	for i, e := range history {
		if e.Time.Equal(last.Time) && e.Phase == last.Phase && e.Version == last.Version {
			from = i + 1
		}
	}
	for i := from; i < len(history); i++ {
		if history[i].Phase != update.RolledBack {
			continue
		}
		for b := i; b >= 0 && i-b < maxEvents/2; b-- {
			if history[b].Phase == update.Downloading {
				from = min(from, b)
				break
			}
		}
		break
	}
	return history[from:min(len(history), from+maxEvents)]
}

// reason and kind of the event of an entry.
func eventOf(e update.Entry) (reason, kind, message string) {
	version := cmp.Or(e.Version, "another version")
	kind = "Normal"
	switch e.Phase {
	case update.Downloading:
		reason, message = "UpdateStarted", version+" is being downloaded"
	case update.Staged:
		reason, message = "UpdateStaged", version+" is written to the other slot and verified"
	case update.Armed:
		reason, message = "UpdateArmed", "the node restarts into "+version
	case update.Judging:
		reason, message = "UpdateOnTrial", version+" runs on trial"
	case update.Good:
		reason, message = "UpdateSucceeded", version+" is installed"
	case update.RolledBack:
		reason, kind, message = "UpdateRolledBack", "Warning", version+" was taken back"
	case update.Failed:
		reason, kind, message = "UpdateFailed", "Warning", version+" cannot be installed"
	default:
		reason, message = "UpdateCancelled", "the update to "+version+" was given up"
	}
	if e.Message != "" {
		message += ": " + e.Message
	}
	return reason, kind, clip(message)
}

// teller writes the history as Events of the Node.
type teller struct {
	node string // its name
	file string // what was told last, over restarts
}

// tell writes what was not told yet, and remembers how far it came.
func (t teller) tell(ctx context.Context, api *kubeapi.Client, history []update.Entry) (err error) {
	last, err := t.last()
	if err != nil {
		return err
	}
	news := untold(history, last)
	if len(news) == 0 {
		return nil
	}
	name, uid, err := t.find(ctx, api)
	if err != nil {
		return err
	}
	told := 0
	for _, e := range news {
		reason, kind, message := eventOf(e)
		problem := do(ctx, api, http.MethodPost, eventsURL, map[string]any{
			"apiVersion": "v1", "kind": "Event",
			"metadata":       map[string]any{"name": fmt.Sprintf("%s.%x.%s", name, e.Time.UnixNano(), e.Phase), "namespace": "default"},
			"involvedObject": map[string]any{"apiVersion": "v1", "kind": "Node", "name": name, "uid": uid},
			"reason":         reason, "type": kind, "message": message,
			"source":             map[string]any{"component": "ksagent", "host": name},
			"reportingComponent": "ksagent", "reportingInstance": name,
			"firstTimestamp": second(e.Time), "lastTimestamp": second(e.Time), "count": 1,
		}, nil)
		var answer *kubeapi.StatusError
		switch {
		case problem == nil, kubeapi.IsConflict(problem): // it is there already
		case errors.As(problem, &answer) && answer.Code == http.StatusUnprocessableEntity:
			// It would be refused each time, and hold up what comes after it.
			err = errors.Join(err, fmt.Errorf("event %s of the node: %w", reason, problem))
		default:
			return errors.Join(err, fmt.Errorf("event %s of the node: %w", reason, problem), t.remember(news[:told]))
		}
		told++
	}
	return errors.Join(err, t.remember(news))
}

// last reads what was told last. What makes no sense is told once more.
func (t teller) last() (update.Entry, error) {
	text, err := os.ReadFile(t.file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return update.Entry{}, fmt.Errorf("what was told of updates: %w", err)
	}
	var e update.Entry
	if err := json.Unmarshal(text, &e); err != nil {
		return update.Entry{}, nil
	}
	return e, nil
}

func (t teller) remember(told []update.Entry) error {
	if len(told) == 0 {
		return nil
	}
	last := told[len(told)-1]
	last.Message = ""
	text, err := json.Marshal(last)
	if err == nil {
		err = atomicfile.Write(t.file, append(text, '\n'), 0o600)
	}
	if err != nil {
		return fmt.Errorf("what was told of updates: %w", err)
	}
	return nil
}

// find gives the Node's name and UID. One that was renamed has the objects of
// its former names, too.
func (t teller) find(ctx context.Context, api *kubeapi.Client) (name, uid string, err error) {
	var nodes struct {
		Items []struct {
			Metadata metadata `json:"metadata"`
		} `json:"items"`
	}
	if err := do(ctx, api, http.MethodGet, nodesURL, nil, &nodes); err != nil {
		return "", "", fmt.Errorf("node for events: %w", err)
	}
	for _, n := range nodes.Items {
		if n.Metadata.Name == t.node || len(nodes.Items) == 1 {
			return n.Metadata.Name, n.Metadata.UID, nil
		}
	}
	return "", "", fmt.Errorf("node for events: %d nodes, none of which is %s", len(nodes.Items), t.node)
}
