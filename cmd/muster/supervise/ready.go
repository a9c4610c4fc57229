package supervise

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// patience is how long an answer is waited for.
const patience = 2 * time.Second

// Ready asks a process's /readyz; nil means that it does its work.
func Ready(ctx context.Context, url string) error { return answers(ctx, url) }

func answers(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("asking whether it is ready: %w", err)
	}
	req.Close = true // a kept connection would outlive the process behind it
	resp, err := http.DefaultClient.Do(req)
	if ctx.Err() == context.DeadlineExceeded {
		return fmt.Errorf("no answer from %s within %s: it hangs, or the machine is overloaded", url, patience)
	}
	if err != nil {
		return fmt.Errorf("asking whether it is ready: %w", err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 512))
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s%s", notReady, reason(body))
	}
	return nil
}

const notReady = "not ready: "

// plain is why a process is not ready, for a sentence that says already that it is not.
func plain(err error) string { return strings.TrimPrefix(err.Error(), notReady) }

// reason reads the answer of a process's /readyz.
func reason(body []byte) string {
	var answer struct {
		Status string
		Failed []struct{ Name, Error string }
	}
	if json.Unmarshal(body, &answer) != nil || len(answer.Failed) == 0 {
		if answer.Status != "" {
			return answer.Status
		}
		return strings.TrimSpace(string(body))
	}
	var all []string
	for _, f := range answer.Failed {
		all = append(all, f.Name+": "+f.Error)
	}
	return strings.Join(all, "; ")
}
