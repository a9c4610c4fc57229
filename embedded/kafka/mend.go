package kafka

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"os"
	"path/filepath"
)

// Entries of kfake's state logs: length of what follows the checksum, CRC-32C of it, version and data.
const (
	entryHead    = 8
	entryVersion = 2
)

// mend cuts off what a write that was interrupted left at the end of the logs of groups and producers. kfake reads up
// to there and then appends behind it, so that the next start would not see anything that was committed since.
func mend(dir string, log *slog.Logger) error {
	for _, name := range []string{"groups.log", "pids.log"} {
		path := filepath.Join(dir, name)
		raw, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("read %s: %w", name, err)
		}
		whole := wholeEntries(raw)
		if whole == len(raw) {
			continue
		}
		log.Warn("the last entry was cut short: leaving it out", "file", path, "bytes", len(raw)-whole)
		if err := truncate(path, int64(whole)); err != nil {
			return fmt.Errorf("cut off what was half written to %s: %w", name, err)
		}
	}
	return nil
}

// wholeEntries is how many bytes of a state log can be read.
func wholeEntries(raw []byte) int {
	pos := 0
	for {
		rest := raw[pos:]
		if len(rest) < entryHead+entryVersion {
			return pos
		}
		length := int64(binary.LittleEndian.Uint32(rest))
		if length < entryVersion || length > int64(len(rest)-entryHead) {
			return pos
		}
		content := rest[entryHead : entryHead+length]
		if crc32.Checksum(content, crc32.MakeTable(crc32.Castagnoli)) != binary.LittleEndian.Uint32(rest[4:]) {
			return pos
		}
		pos += entryHead + len(content)
	}
}

// truncate is durable when it returns.
func truncate(path string, size int64) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	err = f.Truncate(size)
	if serr := f.Sync(); err == nil {
		err = serr
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}
