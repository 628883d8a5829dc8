// Package preload puts the container images that the system root carries into
// containerd, so that a node without any network can start its pods.
//
// It owns the import, the unpacking and the labels of those images: each is
// visible to CRI and pinned, so that the kubelet's image garbage collection
// leaves it alone. It never pulls, and never removes an image: one that an
// older system carried is only unpinned. An image that is there already costs
// two requests.
//
// It is tested against a real containerd started by the test.
package preload

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"

	"kubesolo.io/os/internal/imagelist"
)

// Namespace is the containerd namespace of Kubernetes' images and containers.
const Namespace = "k8s.io"

// Labels of an image record. The first two are CRI's (containerd,
// internal/cri/labels), the last marks what this package imported.
const (
	labelManaged   = "io.cri-containerd.image"
	valueManaged   = "managed"
	labelPinned    = "io.cri-containerd.pinned"
	valuePinned    = "pinned"
	labelPreloaded = "kubesolo.io/preloaded"
)

// Options says what to import into which containerd.
type Options struct {
	Client *containerd.Client
	// Dir holds images.json and the archives it names.
	Dir string
	// Snapshotter is the one that CRI uses, "overlayfs" if empty.
	Snapshotter string
}

// Result is what one pass did, as image references.
type Result struct {
	Present  []string // nothing to do
	Imported []string
	Unpinned []string // of an older system, now open to garbage collection
}

// Once makes one pass over the list. The error joins one error per archive that
// could not be imported, each naming the archive; the others are in the result
// all the same. A directory without a list has no images, which is no error.
func Once(ctx context.Context, o Options) (Result, error) {
	if o.Snapshotter == "" {
		o.Snapshotter = "overlayfs"
	}
	ctx = namespaces.WithNamespace(ctx, Namespace)
	data, err := os.ReadFile(filepath.Join(o.Dir, imagelist.FileName))
	if errors.Is(err, fs.ErrNotExist) {
		return Result{}, nil
	} else if err != nil {
		return Result{}, fmt.Errorf("list of container images: %w", err)
	}
	entries, err := imagelist.Parse(data)
	if err != nil {
		return Result{}, fmt.Errorf("%s: %w", o.Dir, err)
	}
	var result Result
	var problems []error
	for _, archive := range byArchive(entries) {
		err := o.ensure(ctx, archive, &result)
		if err != nil {
			problems = append(problems, fmt.Errorf("container image archive %s: %w", filepath.Join(o.Dir, archive[0].File), err))
		}
		if ctx.Err() != nil || errdefs.IsUnavailable(err) {
			break // containerd is gone, the other archives would only say so again
		}
	}
	if len(problems) == 0 {
		result.Unpinned, err = o.unpinOthers(ctx, entries)
		problems = append(problems, err)
	}
	return result, errors.Join(problems...)
}

// byArchive groups entries by file, in the order of the list.
func byArchive(entries []imagelist.Entry) [][]imagelist.Entry {
	var groups [][]imagelist.Entry
	for _, e := range entries {
		i := slices.IndexFunc(groups, func(g []imagelist.Entry) bool { return g[0].File == e.File })
		if i < 0 {
			groups = append(groups, []imagelist.Entry{e})
		} else {
			groups[i] = append(groups[i], e)
		}
	}
	return groups
}

// ensure imports the archive unless containerd has all its images.
func (o Options) ensure(ctx context.Context, archive []imagelist.Entry, result *Result) error {
	missing := 0
	for _, e := range archive {
		present, err := o.present(ctx, e)
		if err != nil {
			return err
		}
		if !present {
			missing++
		}
	}
	into := &result.Present
	if missing > 0 {
		if err := o.importArchive(ctx, archive); err != nil {
			return err
		}
		into = &result.Imported
	}
	for _, e := range archive {
		*into = append(*into, e.Ref)
	}
	return nil
}

func (o Options) present(ctx context.Context, e imagelist.Entry) (bool, error) {
	image, err := o.Client.GetImage(ctx, e.Ref)
	if errdefs.IsNotFound(err) {
		return false, nil
	} else if err != nil {
		return false, fmt.Errorf("look up %s: %w", e.Ref, err)
	}
	if image.Target().Digest.String() != e.Digest || image.Labels()[labelPinned] != valuePinned {
		return false, nil
	}
	// An error here is content that a power cut or a garbage collection took:
	// importing again brings it back.
	unpacked, err := image.IsUnpacked(ctx, o.Snapshotter)
	return err == nil && unpacked, ctx.Err()
}

func (o Options) importArchive(ctx context.Context, archive []imagelist.Entry) (err error) {
	f, err := os.Open(filepath.Join(o.Dir, archive[0].File))
	if err != nil {
		return err
	}
	defer f.Close()
	// Content without an image record lives as long as a lease on it.
	ctx, done, err := o.Client.WithLease(ctx)
	if err != nil {
		return fmt.Errorf("lease: %w", err)
	}
	defer func() {
		if doneErr := done(context.WithoutCancel(ctx)); err == nil && doneErr != nil {
			err = fmt.Errorf("end lease: %w", doneErr)
		}
	}()
	imported, err := o.Client.Import(ctx, f, containerd.WithImageLabels(map[string]string{
		labelManaged:   valueManaged,
		labelPinned:    valuePinned,
		labelPreloaded: "true",
	}))
	if err != nil {
		return fmt.Errorf("import: %w", err)
	}
	for _, e := range archive {
		if err := o.unpack(ctx, imported, e); err != nil {
			// A record whose content is not whole would make CRI believe in it.
			deleteErr := o.Client.ImageService().Delete(ctx, e.Ref)
			if errdefs.IsNotFound(deleteErr) {
				deleteErr = nil
			}
			return errors.Join(fmt.Errorf("%s: %w", e.Ref, err), deleteErr)
		}
	}
	return nil
}

func (o Options) unpack(ctx context.Context, imported []images.Image, e imagelist.Entry) error {
	i := slices.IndexFunc(imported, func(im images.Image) bool { return im.Name == e.Ref })
	if i < 0 {
		return errors.New("the archive does not hold this image")
	}
	if got := imported[i].Target.Digest.String(); got != e.Digest {
		return fmt.Errorf("the archive holds digest %s, %s says %s", got, imagelist.FileName, e.Digest)
	}
	if err := containerd.NewImage(o.Client, imported[i]).Unpack(ctx, o.Snapshotter); err != nil {
		return fmt.Errorf("unpack: %w", err)
	}
	return nil
}

// unpinOthers takes the pin off images that an earlier system preloaded and
// this one does not carry. They stay until the kubelet needs the space, which
// keeps a roll-back to that system cheap.
func (o Options) unpinOthers(ctx context.Context, entries []imagelist.Entry) ([]string, error) {
	store := o.Client.ImageService()
	list, err := store.List(ctx, `labels."`+labelPreloaded+`"==true`)
	if err != nil {
		return nil, fmt.Errorf("list preloaded images: %w", err)
	}
	var unpinned []string
	for _, im := range list {
		kept := slices.ContainsFunc(entries, func(e imagelist.Entry) bool { return e.Ref == im.Name })
		if kept || im.Labels[labelPinned] == "" {
			continue
		}
		delete(im.Labels, labelPinned)
		if _, err := store.Update(ctx, im, "labels"); err != nil {
			return unpinned, fmt.Errorf("unpin %s: %w", im.Name, err)
		}
		unpinned = append(unpinned, im.Name)
	}
	return unpinned, nil
}

// Bounds of the pause between two passes: the first when containerd is just
// starting, the last when an archive is broken and stays so.
const (
	firstPause = time.Second
	lastPause  = 5 * time.Minute
)

// Run makes passes until one has no error or ctx ends, with a growing pause
// between them, and calls report after each. It returns the last error.
func Run(ctx context.Context, o Options, log *slog.Logger, report func(Result, error)) error {
	said := ""
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		result, err := Once(ctx, o)
		if err != nil && ctx.Err() != nil {
			return err
		}
		report(result, err)
		if err == nil {
			return nil
		}
		if text := err.Error(); text != said {
			said = text
			log.Warn("container images are not all there, trying again", "in", pause, "err", err)
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(pause):
		}
	}
}
