package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/dogpile-go/dogpile/cmd/dogpile/internal/report"
)

// pageFile is the page while it is not complete yet: a file in the directory where
// it will be, made first so that a place where none can be made is noticed before
// the run. A nil pageFile is no page.
type pageFile struct {
	file *os.File
	path string
}

func newPage(path string) (*pageFile, error) {
	if path == "" {
		return nil, nil
	}
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("--report: %s is not a regular file", path)
	}
	file, err := os.CreateTemp(filepath.Dir(path), ".dogpile-*.html")
	if err != nil {
		// A PathError names the temporary file, which nobody has asked for.
		var pathErr *fs.PathError
		if errors.As(err, &pathErr) {
			err = pathErr.Err
		}
		return nil, fmt.Errorf("--report: cannot write %s: %w", path, err)
	}
	return &pageFile{file, path}, nil
}

func (p *pageFile) keep(r *report.Report) error {
	if p == nil {
		return nil
	}
	if err := r.HTML(p.file); err != nil {
		return err
	}
	if err := p.file.Chmod(0o644); err != nil {
		return err
	}
	if err := p.file.Close(); err != nil {
		return err
	}
	return os.Rename(p.file.Name(), p.path)
}

func (p *pageFile) discard() {
	if p != nil {
		p.file.Close()
		os.Remove(p.file.Name())
	}
}
