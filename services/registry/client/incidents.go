package client

import (
	"context"
	"net/http"

	v1 "muster.dev/services/registry/api/v1"
)

// AcknowledgeIncident says that the bearer of the client's token has taken an incident on. Repeated, it is said again.
func (c *Client) AcknowledgeIncident(ctx context.Context, id, why string) (out v1.Acknowledged, err error) {
	return out, c.do(ctx, http.MethodPost, under("/api/v1/incidents", id, "acknowledge"), v1.Change{Why: why}, &out)
}
