package uplink

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"muster.dev/fleet/edge/parcel"
)

// fate is what the gateway's answer means for a message.
type fate uint8

const (
	stored    fate = iota
	refused        // the message, for good
	forbidden      // the edge may not speak for the device
	slower         // the device has to wait
	unsure         // everything has to wait
	barred         // the edge's certificate is refused
)

var fateNames = [...]string{"stored", "refused", "forbidden", "slower", "unsure", "barred"}

func (f fate) String() string { return fateNames[f] }

// answer is what came back.
type answer struct {
	fate       fate
	duplicate  bool
	status     int // 0: none came
	reason     string
	detail     string
	retryAfter time.Duration
	faults     int // values that the gateway set aside
}

// problem is a refusal as RFC 9457 puts it, and a receipt: they share no field.
type problem struct {
	Title, Detail, Reason, Field string
	Duplicate                    bool
	Faults                       int `json:"quarantined_values"`
}

// maxAnswer bounds what is read of an answer.
const maxAnswer = 64 << 10

// backlogHeader says that a message lay in a store: that its seq lies below others is then no sign of two devices under one name.
const backlogHeader = "Muster-Backlog"

// post makes one attempt.
func (c *client) post(ctx context.Context, p *parcel.Parcel, backlog bool) answer {
	u := *c.base
	u.Path = "/v1/" + p.Stream.String()
	if p.Device != "" {
		u.Path += "/" + string(p.Device)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), bytes.NewReader(p.Body))
	if err != nil {
		return answer{fate: unsure, detail: err.Error()}
	}
	req.Header.Set("Content-Type", p.Form.MediaType())
	if backlog {
		req.Header.Set(backlogHeader, "1")
	}
	resp, err := c.now().Do(req)
	if err != nil {
		if isBarred(err) {
			return answer{fate: barred, reason: "handshake", detail: err.Error()}
		}
		return answer{fate: unsure, reason: "no-answer", detail: err.Error()}
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return answer{fate: unsure, status: resp.StatusCode, reason: "no-answer", detail: fmt.Sprintf("reading the gateway's answer: %v", err)}
	}
	return judge(resp.StatusCode, resp.Header, text, p.Device == "")
}

// judge decides by the status, and of a 403 by whose fault it is. own is set for a message of the edge itself.
func judge(status int, h http.Header, text []byte, own bool) answer {
	var p problem
	err := json.Unmarshal(text, &p)
	a := answer{status: status, reason: p.Reason, detail: p.Detail, retryAfter: retryAfter(h)}
	if a.detail == "" {
		a.detail = p.Title
	}
	switch status {
	case http.StatusOK:
		if err != nil {
			return answer{fate: unsure, status: status, reason: "no-receipt", detail: "the gateway's receipt cannot be read: " + err.Error()}
		}
		a.fate, a.duplicate, a.faults = stored, p.Duplicate, p.Faults
	case http.StatusForbidden:
		switch {
		case own || p.Field == "certificate" || p.Reason == "":
			a.fate = barred
		default:
			a.fate = forbidden
		}
	case http.StatusBadRequest, http.StatusNotFound, http.StatusConflict, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity:
		a.fate = refused
		if p.Reason == "" { // these are not the gateway's words: something stands between
			a.fate = unsure
		}
	case http.StatusTooManyRequests:
		a.fate = unsure
		if p.Reason == "device-rate" && !own {
			a.fate = slower
		}
	default:
		a.fate = unsure
	}
	return a
}

// barredAlerts are those by which a peer refuses a certificate (RFC 8446 section 6.2), as crypto/tls words them.
var barredAlerts = []string{
	"bad certificate", "unsupported certificate", "revoked certificate", "expired certificate", "unknown certificate",
	"unknown certificate authority", "access denied", "certificate required",
}

// isBarred finds a peer's alert. crypto/tls has no type for it, and HTTP/2 passes its words on alone.
func isBarred(err error) bool {
	for ; err != nil; err = errors.Unwrap(err) {
		if _, alert, found := strings.Cut(err.Error(), "remote error: tls: "); found && slices.ContainsFunc(barredAlerts, func(a string) bool { return strings.HasPrefix(alert, a) }) {
			return true
		}
	}
	return false
}

// retryAfter reads the header in its form of seconds, the only one that the gateway uses.
func retryAfter(h http.Header) time.Duration {
	n, err := strconv.Atoi(h.Get("Retry-After"))
	if err != nil || n < 0 {
		return 0
	}
	return min(time.Duration(n)*time.Second, time.Hour)
}
