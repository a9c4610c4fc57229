package client

import (
	"context"
	"net/http"

	v1 "muster.dev/services/registry/api/v1"
)

const cohortsPath = "/api/v1/cohorts"

// Cohorts reads every rollout cohort.
func (c *Client) Cohorts(ctx context.Context) (out v1.Cohorts, err error) {
	return out, c.do(ctx, http.MethodGet, cohortsPath, nil, &out)
}

// Cohort reads one rollout cohort.
func (c *Client) Cohort(ctx context.Context, name string) (out v1.Cohort, err error) {
	return out, c.do(ctx, http.MethodGet, under(cohortsPath, name), nil, &out)
}

// DefineCohort says what holds for a cohort's devices.
func (c *Client) DefineCohort(ctx context.Context, name string, d v1.CohortDefinition) (out v1.Cohort, err error) {
	return out, c.do(ctx, http.MethodPut, under(cohortsPath, name), d, &out)
}

// MoveDevices moves devices to a cohort, all or none.
func (c *Client) MoveDevices(ctx context.Context, cohort string, m v1.Members) (out v1.Cohort, err error) {
	return out, c.do(ctx, http.MethodPost, under(cohortsPath, cohort, "members"), m, &out)
}

// QuarantineCohort holds a cohort's devices off, or lets them in again.
func (c *Client) QuarantineCohort(ctx context.Context, name string, on bool, why string) (out v1.Cohort, err error) {
	return out, c.do(ctx, http.MethodPost, under(cohortsPath, name, verb(on)), v1.Change{Why: why}, &out)
}

// RevokeCohort takes the identity of all devices of a cohort away, for good.
func (c *Client) RevokeCohort(ctx context.Context, name, why string) (out v1.Cohort, err error) {
	return out, c.do(ctx, http.MethodPost, under(cohortsPath, name, "revoke"), v1.Change{Why: why}, &out)
}

// Groups reads every reporting group.
func (c *Client) Groups(ctx context.Context) (out v1.Groups, err error) {
	return out, c.do(ctx, http.MethodGet, "/api/v1/groups", nil, &out)
}

// DefineGroup gives a name to a selector.
func (c *Client) DefineGroup(ctx context.Context, name string, d v1.GroupDefinition) (out v1.Group, err error) {
	return out, c.do(ctx, http.MethodPut, under("/api/v1/groups", name), d, &out)
}

// RemoveGroup takes the name back.
func (c *Client) RemoveGroup(ctx context.Context, name, why string) (out v1.Groups, err error) {
	return out, c.do(ctx, http.MethodPost, under("/api/v1/groups", name, "remove"), v1.Change{Why: why}, &out)
}

// Regions reads every region.
func (c *Client) Regions(ctx context.Context) (out v1.Regions, err error) {
	return out, c.do(ctx, http.MethodGet, "/api/v1/regions", nil, &out)
}

// DefineRegion names the gateway that takes a region's devices.
func (c *Client) DefineRegion(ctx context.Context, name string, d v1.RegionDefinition) (out v1.Region, err error) {
	return out, c.do(ctx, http.MethodPut, under("/api/v1/regions", name), d, &out)
}

// Lines reads every product line.
func (c *Client) Lines(ctx context.Context) (out v1.Lines, err error) {
	return out, c.do(ctx, http.MethodGet, "/api/v1/lines", nil, &out)
}

// DefineLine says what devices become that enrol themselves under a label.
func (c *Client) DefineLine(ctx context.Context, label string, d v1.LineDefinition) (out v1.Line, err error) {
	return out, c.do(ctx, http.MethodPut, under("/api/v1/lines", label), d, &out)
}
