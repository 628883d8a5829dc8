package source

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"strconv"
	"strings"
)

// maxDiscard is how much of a file is read for nothing where a server gives all
// of it instead of a part: about a second at 100 Mbit/s. Above it the caller
// decides, since the line may be paid for by what goes over it.
const maxDiscard = 16 << 20

// openRange sends the request for the bytes of a file from offset on.
//
// There is no If-Range: servers behind one name give one file different tags,
// and a download could then never be resumed. A file that changed in between is
// found by its hash.
func openRange(d doer, request *http.Request, size, offset int64) (io.ReadCloser, error) {
	if err := checkOffset(size, offset); err != nil {
		return nil, err
	}
	if offset == size {
		return http.NoBody, nil // such a range cannot be asked for (RFC 9110, 14.1.2)
	}
	if offset > 0 {
		request.Header.Set("Range", fmt.Sprintf("bytes=%d-", offset))
	}
	response, err := do(d, request)
	if err != nil {
		return nil, err
	}
	skip, err := checkRange(response, size, offset)
	if err == nil && skip > 0 {
		_, err = io.CopyN(io.Discard, response.Body, skip)
	}
	if err != nil {
		return nil, errors.Join(err, response.Body.Close())
	}
	return &exactly{ReadCloser: response.Body, left: size - offset}, nil
}

// checkRange compares the head of an answer with what was asked for, and
// returns how many bytes of its body come before the offset.
func checkRange(response *http.Response, size, offset int64) (skip int64, err error) {
	length := response.ContentLength // -1: not said
	switch response.StatusCode {
	case http.StatusOK:
		if length >= 0 && length != size {
			return 0, fmt.Errorf("the server has %d bytes of it, not %d: %w", length, size, ErrLength)
		}
		if offset > maxDiscard {
			return 0, fmt.Errorf("it answers with the whole file when asked for the bytes from %d on: %w", offset, ErrNoResume)
		}
		return offset, nil
	case http.StatusPartialContent:
		text := response.Header.Get("Content-Range")
		r, ok := parseContentRange(text)
		switch {
		case ok && r.total >= 0 && r.total != size:
			return 0, fmt.Errorf("the server has %d bytes of it, not %d: %w", r.total, size, ErrLength)
		case offset == 0 || !ok || r.first != offset || r.last >= size:
			return 0, fmt.Errorf("it answers with %.60q when asked for the bytes from %d on: %w", text, offset, ErrNoResume)
		case length >= 0 && length != r.last-r.first+1:
			return 0, fmt.Errorf("it answers with %d bytes and calls them %.60q: %w", length, text, ErrNoResume)
		}
		return 0, nil
	case http.StatusRequestedRangeNotSatisfiable:
		if r, ok := parseContentRange(response.Header.Get("Content-Range")); ok && r.total >= 0 && r.total != size {
			return 0, fmt.Errorf("the server has %d bytes of it, not %d: %w", r.total, size, ErrLength)
		}
		return 0, fmt.Errorf("it says %q when asked for the bytes from %d on: %w", response.Status, offset, ErrNoResume)
	}
	return 0, statusError(response)
}

// statusError says what an answer without the file means.
func statusError(response *http.Response) error {
	switch code := response.StatusCode; code {
	case http.StatusNotFound, http.StatusGone:
		return fs.ErrNotExist
	case http.StatusForbidden:
		// What object stores say of a file that is not there to those who may
		// not list the others.
		return fmt.Errorf("the server says %q: not there, or not for us: %w", response.Status, fs.ErrNotExist)
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
	default:
		if code < 500 {
			return fmt.Errorf("the server says %q: %w", response.Status, ErrRefused)
		}
	}
	return fmt.Errorf("the server says %q", response.Status)
}

type contentRange struct {
	first, last int64 // -1 for the "*" of an answer 416
	total       int64 // -1: not said
}

// parseContentRange reads the header of RFC 9110, 14.4, for bytes.
func parseContentRange(text string) (r contentRange, ok bool) {
	text, ok = strings.CutPrefix(text, "bytes ")
	if !ok {
		return r, false
	}
	part, total, ok := strings.Cut(text, "/")
	if !ok {
		return r, false
	}
	if r.total = -1; total != "*" {
		if r.total, ok = number(total); !ok {
			return r, false
		}
	}
	if part == "*" {
		r.first, r.last = -1, -1
		return r, r.total >= 0
	}
	first, last, _ := strings.Cut(part, "-")
	if r.first, ok = number(first); !ok {
		return r, false
	}
	if r.last, ok = number(last); !ok {
		return r, false
	}
	return r, r.first <= r.last && (r.total < 0 || r.last < r.total)
}

// number reads digits alone: ParseInt would take a sign too.
func number(s string) (int64, bool) {
	n, err := strconv.ParseUint(s, 10, 63)
	return int64(n), err == nil
}
