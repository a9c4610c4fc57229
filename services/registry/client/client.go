package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	v1 "muster.dev/services/registry/api/v1"
)

const maxAnswer = 8 << 20 // a page of 1,000 devices has 300 KB

// Client calls one registry. It is safe for concurrent use.
type Client struct {
	base  string
	token string
	http  *http.Client
}

// New makes a client of the registry at base, e.g. http://127.0.0.1:8080, for the bearer of an operator's token.
func New(base, token string) *Client {
	return &Client{
		base:  strings.TrimSuffix(base, "/"),
		token: token,
		http:  &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 16, IdleConnTimeout: 30 * time.Second}},
	}
}

// Close drops idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// do sends in as JSON and reads the answer into out. A refusal is a *v1.Problem; any other error says nothing about
// whether the registry acted.
func (c *Client) do(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("encode a request to the registry: %w", err)
		}
		body = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return fmt.Errorf("request to the registry: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := c.http.Do(req)
	if err != nil {
		return c.unanswered(method, err)
	}
	defer res.Body.Close()
	data, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return c.unanswered(method, err)
	}
	if res.StatusCode >= 300 {
		problem := &v1.Problem{}
		if json.Unmarshal(data, problem) != nil || problem.Title == "" {
			problem = &v1.Problem{Title: "the registry answered " + res.Status}
		}
		problem.Status = res.StatusCode
		return problem
	}
	if err := json.Unmarshal(data, out); err != nil {
		return errors.Join(fmt.Errorf("the registry's answer to %s %s is not what was expected", method, path), err)
	}
	return nil
}

// unanswered says what is known of a request that got no answer, and what to do.
func (c *Client) unanswered(method string, err error) error {
	var asked *url.Error // names the address again
	if errors.As(err, &asked) {
		err = asked.Err
	}
	switch {
	case errors.Is(err, context.Canceled) && method == http.MethodGet:
		return fmt.Errorf("the registry was not waited for: %w", err)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("the registry is not there at %s, so nothing was done: `muster status` says how it stands; ask again when it is ready: %w", c.base, err)
	case method == http.MethodGet:
		return fmt.Errorf("the registry at %s gave no answer: `muster status` says how it stands; ask again: %w", c.base, err)
	}
	return fmt.Errorf("the registry at %s gave no answer, and may have done it or not: do it again, what is so already is not done twice; `muster status` says how it stands: %w", c.base, err)
}
