package kube

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"kubesolo.io/os/internal/kubeapi"
	"kubesolo.io/os/internal/update"
)

// ToldFile is where it is remembered which entries of the history are events.
const ToldFile = "/var/lib/update/told.json"

// Controller carries out OSUpdates and tells of updates.
type Controller struct {
	// API gives the client, or the error why there is none yet. It is called from
	// one goroutine.
	API     func() (*kubeapi.Client, error)
	Updater update.Updater
	Node    string // name of the Node object: the host name
	Told    string // ToldFile
	Log     *slog.Logger

	defined bool
	delays  map[string]delay
	said    string // the last problem
}

const (
	pauseBusy = 10 * time.Second
	pauseIdle = 30 * time.Second
	pauseSoon = 2 * time.Second // for a definition that is about to be served

	requestTimeout = 10 * time.Second
	// orderTimeout is how long the metadata of a slow source may take.
	orderTimeout = 5 * time.Minute
)

// Run looks at the objects, and at the history, until ctx ends.
func (c *Controller) Run(ctx context.Context) {
	for ctx.Err() == nil {
		pause := c.round(ctx)
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// round does once what there is to do, and says after which pause to look again.
func (c *Controller) round(ctx context.Context) (pause time.Duration) {
	api, err := c.API()
	if err == nil {
		told := teller{c.Node, c.Told}.tell(ctx, api, c.Updater.Status().State.History)
		err = errors.Join(c.objects(ctx, api), told)
	}
	if ctx.Err() != nil {
		return 0
	}
	switch said := fmt.Sprint(err); {
	case err == nil:
		c.said = ""
	case errors.Is(err, errNotYet):
		return pauseSoon
	case said != c.said:
		c.said = said
		c.Log.Info("OSUpdates: tried again", "in", pauseBusy, "err", err)
	}
	if err != nil || c.Updater.Status().State.Phase.Busy() {
		return pauseBusy
	}
	return pauseIdle
}

// objects brings each object to the status it should have, and hands over the
// order that is next.
func (c *Controller) objects(ctx context.Context, api *kubeapi.Client) error {
	if !c.defined {
		if err := define(ctx, api); err != nil {
			return err
		}
		c.defined = true
	}
	var list struct {
		Items []object `json:"items"`
	}
	if err := do(ctx, api, http.MethodGet, objectsURL, nil, &list); err != nil {
		c.defined = !kubeapi.IsNotFound(err) && c.defined // somebody deleted it
		return fmt.Errorf("list OSUpdates: %w", err)
	}
	c.forget(list.Items)
	wanted, next := decide(list.Items, c.Updater.Status(), c.delays, time.Now())
	var err error
	for _, o := range list.Items {
		if is, ok := wanted[o.Metadata.UID]; ok && (next == nil || o.Metadata.UID != next.Metadata.UID) {
			err = errors.Join(err, o.put(ctx, api, is))
		}
	}
	if next != nil {
		err = errors.Join(err, c.hand(ctx, api, *next, wanted[next.Metadata.UID]))
	}
	return err
}

// forget drops the delays of objects that are gone.
func (c *Controller) forget(list []object) {
	kept := map[string]delay{}
	for _, o := range list {
		if d, ok := c.delays[o.Metadata.UID]; ok {
			kept[o.Metadata.UID] = d
		}
	}
	c.delays = kept
}

// hand writes down that the object is ordered, orders it, and writes what came of
// that.
func (c *Controller) hand(ctx context.Context, api *kubeapi.Client, o object, ordered status) error {
	if err := o.put(ctx, api, ordered); err != nil {
		return err
	}
	c.Log.Info("ordered by an OSUpdate", "name", o.Metadata.Name, "version", o.Spec.Version, "channel", o.Spec.Channel)
	limited, cancel := context.WithTimeout(ctx, orderTimeout)
	err := c.Updater.Order(limited, o.order())
	cancel()
	if ctx.Err() != nil {
		return ctx.Err() // the note tells, at the next start, whether it began
	}
	now, s := time.Now(), c.Updater.Status()
	before := c.delays[o.Metadata.UID]
	delete(c.delays, o.Metadata.UID)
	var rejected *update.Rejected
	is := o.mirror(s, now)
	switch {
	case err == nil && s.State.Attempts != ordered.Attempt:
		return fmt.Errorf("osupdate/%s was taken as update %d, and %d is under way", o.Metadata.Name, ordered.Attempt, s.State.Attempts)
	case err == nil:
	case errors.Is(err, update.ErrNothingNew):
		is = o.runs(s, now)
	case errors.As(err, &rejected):
		is = o.with(update.Failed, reasonRejected, err.Error(), now)
		is.Version, is.FinishedAt = o.Spec.Version, second(now)
	default:
		d := before.again(o, err.Error(), now)
		c.delays[o.Metadata.UID] = d
		is = o.with(pending, reasonNotTaken, d.message(), now)
	}
	c.Log.Info("OSUpdate", "name", o.Metadata.Name, "phase", is.Phase, "message", is.Message)
	return o.put(ctx, api, is)
}

// put writes the status, unless the object has it.
func (o *object) put(ctx context.Context, api *kubeapi.Client, is status) error {
	if o.Status.same(is) {
		return nil
	}
	var written object
	err := do(ctx, api, http.MethodPatch, objectsURL+"/"+url.PathEscape(o.Metadata.Name)+"/status", map[string]any{
		// A spec that was changed meanwhile is another order.
		"metadata": map[string]string{"resourceVersion": o.Metadata.ResourceVersion},
		"status":   is,
	}, &written)
	if err != nil {
		return fmt.Errorf("status of osupdate/%s: %w", o.Metadata.Name, err)
	}
	*o = written
	return nil
}

// do sends one request, which has its time.
func do(ctx context.Context, api *kubeapi.Client, method, path string, in, out any) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	return api.Do(ctx, method, path, in, out)
}
