package health

import (
	"io"
	"os"
	"strconv"
	"strings"
)

// maxSmall bounds what is read of a file of /proc or /sys.
const maxSmall = 16 << 10

// small reads the beginning of a file; "" if it cannot be read.
func small(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	p, err := io.ReadAll(io.LimitReader(f, maxSmall))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(p))
}

func number(s string) (float64, bool) {
	f, err := strconv.ParseFloat(s, 64)
	return f, err == nil && f-f == 0 // finite
}
