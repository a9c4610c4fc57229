package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"

	v1 "muster.dev/services/registry/api/v1"
)

const devicesPath = "/api/v1/devices"

func under(path string, elem ...string) string {
	for _, e := range elem {
		path += "/" + url.PathEscape(e)
	}
	return path
}

// Enroll asks for a certificate. It is safe to repeat with the same request: the answer is the same.
func (c *Client) Enroll(ctx context.Context, e v1.Enrolment) (out v1.Enrolled, err error) {
	return out, c.do(ctx, http.MethodPost, devicesPath, e, &out)
}

// Device reads one device.
func (c *Client) Device(ctx context.Context, id string) (out v1.Device, err error) {
	return out, c.do(ctx, http.MethodGet, under(devicesPath, id), nil, &out)
}

// Filter says which devices are wanted; empty members want all.
type Filter struct {
	Cohort, Region, State, Selector string
	Acting                          bool // only those that may speak for others
}

// Devices reads the page of at most limit devices whose numbers come after the given one.
func (c *Client) Devices(ctx context.Context, after uint32, limit int) (v1.Devices, error) {
	return c.Find(ctx, Filter{}, after, limit)
}

// Find is Devices for some of them. A page may hold fewer than limit, and none, before the last.
func (c *Client) Find(ctx context.Context, f Filter, after uint32, limit int) (out v1.Devices, err error) {
	query := url.Values{"after": {strconv.FormatUint(uint64(after), 10)}, "limit": {strconv.Itoa(limit)}}
	for name, value := range map[string]string{"cohort": f.Cohort, "region": f.Region, "state": f.State, "selector": f.Selector} {
		if value != "" {
			query.Set(name, value)
		}
	}
	if f.Acting {
		query.Set("acting", "true")
	}
	return out, c.do(ctx, http.MethodGet, devicesPath+"?"+query.Encode(), nil, &out)
}

// Describe sets attributes of a device, and takes away those that are nil.
func (c *Client) Describe(ctx context.Context, id string, d v1.Description) (out v1.Device, err error) {
	return out, c.do(ctx, http.MethodPatch, under(devicesPath, id), d, &out)
}

// RevokeDevice takes a device's identity away, for good.
func (c *Client) RevokeDevice(ctx context.Context, id, why string) (out v1.Device, err error) {
	return out, c.do(ctx, http.MethodPost, under(devicesPath, id, "revoke"), v1.Change{Why: why}, &out)
}

// QuarantineDevice holds a device off, or lets it in again.
func (c *Client) QuarantineDevice(ctx context.Context, id string, on bool, why string) (out v1.Device, err error) {
	return out, c.do(ctx, http.MethodPost, under(devicesPath, id, verb(on)), v1.Change{Why: why}, &out)
}

func verb(on bool) string {
	if on {
		return "quarantine"
	}
	return "release"
}

// MoveDevice moves a device to another rollout cohort.
func (c *Client) MoveDevice(ctx context.Context, id, cohort, why string) (out v1.Device, err error) {
	return out, c.do(ctx, http.MethodPost, under(devicesPath, id, "move"), v1.Moving{Change: v1.Change{Why: why}, Cohort: cohort}, &out)
}

// Replace puts another device in a device's place. With a CSR the other is enrolled as the first one was.
func (c *Client) Replace(ctx context.Context, old string, r v1.Replacement) (out v1.Enrolled, err error) {
	return out, c.do(ctx, http.MethodPost, under(devicesPath, old, "replacement"), r, &out)
}

// Acting reads for whom a device may speak beside itself.
func (c *Client) Acting(ctx context.Context, id string) (out v1.Acting, err error) {
	return out, c.do(ctx, http.MethodGet, under(devicesPath, id, "acting"), nil, &out)
}

// GrantActing lets a device speak for others, in place of those for whom it might before.
func (c *Client) GrantActing(ctx context.Context, id string, g v1.ActingGrant) (out v1.Acting, err error) {
	return out, c.do(ctx, http.MethodPut, under(devicesPath, id, "acting"), g, &out)
}

// WithdrawActing lets a device speak for itself alone.
func (c *Client) WithdrawActing(ctx context.Context, id, why string) (out v1.Acting, err error) {
	return out, c.do(ctx, http.MethodDelete, under(devicesPath, id, "acting")+"?"+url.Values{"why": {why}}.Encode(), nil, &out)
}

// Certificate reads a certificate by its serial number.
func (c *Client) Certificate(ctx context.Context, serial string) (out v1.Certificate, err error) {
	return out, c.do(ctx, http.MethodGet, under("/api/v1/certificates", serial), nil, &out)
}

// RevokeCertificate takes one certificate's worth away.
func (c *Client) RevokeCertificate(ctx context.Context, serial, why string) (out v1.Certificate, err error) {
	return out, c.do(ctx, http.MethodPost, under("/api/v1/certificates", serial, "revoke"), v1.Change{Why: why}, &out)
}

// DefineSchema publishes a schema, or finds the one with this content.
func (c *Client) DefineSchema(ctx context.Context, metrics []v1.Metric) (out v1.Schema, err error) {
	return out, c.do(ctx, http.MethodPost, "/api/v1/schemas", v1.NewSchema{Metrics: metrics}, &out)
}

// Schema reads a schema.
func (c *Client) Schema(ctx context.Context, id uint32) (out v1.Schema, err error) {
	return out, c.do(ctx, http.MethodGet, under("/api/v1/schemas", strconv.FormatUint(uint64(id), 10)), nil, &out)
}
