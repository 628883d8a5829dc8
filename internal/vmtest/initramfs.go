package vmtest

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/u-root/u-root/pkg/cpio"
)

// WriteInitramfs writes records to path as an initramfs, after the content of
// the file base unless that is "". The kernel unpacks archives that follow each
// other into one root, a later file over an earlier one of the same name: what
// is on top of an image's own initramfs replaces it in part.
func WriteInitramfs(path, base string, records []cpio.Record) error {
	out, err := os.Create(path)
	if err != nil {
		return err
	}
	err = writeInitramfs(out, base, records)
	if closeErr := out.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return fmt.Errorf("initramfs %s: %w", path, err)
	}
	return nil
}

func writeInitramfs(out *os.File, base string, records []cpio.Record) error {
	if base != "" {
		in, err := os.Open(base)
		if err != nil {
			return err
		}
		size, err := io.Copy(out, in)
		if err := errors.Join(err, in.Close()); err != nil {
			return err
		}
		// A stored archive is only found at a multiple of four bytes.
		if _, err := out.Write(make([]byte, (4-size%4)%4)); err != nil {
			return err
		}
	}
	w := cpio.Newc.Writer(out)
	if err := cpio.WriteRecords(w, records); err != nil {
		return err
	}
	return cpio.WriteTrailer(w)
}
