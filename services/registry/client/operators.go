package client

import (
	"context"
	"net/http"
	"net/url"

	v1 "muster.dev/services/registry/api/v1"
)

const (
	passwordsPath     = "/api/v1/passwords"
	manufacturersPath = "/api/v1/manufacturers"
	tokensPath        = "/api/v1/tokens"
)

// MakePassword makes a one-time password. Repeated, it makes another.
func (c *Client) MakePassword(ctx context.Context, p v1.NewPassword) (out v1.PasswordMade, err error) {
	return out, c.do(ctx, http.MethodPost, passwordsPath, p, &out)
}

// Passwords reads the page of one-time passwords whose ids come after the given one; an empty state is any.
func (c *Client) Passwords(ctx context.Context, state, after string) (out v1.Passwords, err error) {
	query := url.Values{"after": {after}}
	if state != "" {
		query.Set("state", state)
	}
	return out, c.do(ctx, http.MethodGet, passwordsPath+"?"+query.Encode(), nil, &out)
}

// WithdrawPassword ends a password before its time.
func (c *Client) WithdrawPassword(ctx context.Context, id, why string) (out v1.Password, err error) {
	return out, c.do(ctx, http.MethodPost, under(passwordsPath, id, "withdraw"), v1.Change{Why: why}, &out)
}

// Manufacturers reads every manufacturer that is trusted.
func (c *Client) Manufacturers(ctx context.Context) (out v1.Manufacturers, err error) {
	return out, c.do(ctx, http.MethodGet, manufacturersPath, nil, &out)
}

// TrustManufacturer lets devices enrol by certificates that these authorities signed.
func (c *Client) TrustManufacturer(ctx context.Context, name string, t v1.ManufacturerTrust) (out v1.Manufacturer, err error) {
	return out, c.do(ctx, http.MethodPut, under(manufacturersPath, name), t, &out)
}

// DistrustManufacturer ends that.
func (c *Client) DistrustManufacturer(ctx context.Context, name, why string) (out v1.Manufacturers, err error) {
	return out, c.do(ctx, http.MethodPost, under(manufacturersPath, name, "distrust"), v1.Change{Why: why}, &out)
}

// ClaimSerials says which of a manufacturer's devices are ours.
func (c *Client) ClaimSerials(ctx context.Context, manufacturer string, n v1.NewClaims) (out v1.Claimed, err error) {
	return out, c.do(ctx, http.MethodPost, under(manufacturersPath, manufacturer, "claims"), n, &out)
}

// Claims reads the page of a manufacturer's claims whose serial numbers come after the given one.
func (c *Client) Claims(ctx context.Context, manufacturer, after string) (out v1.Claims, err error) {
	return out, c.do(ctx, http.MethodGet, under(manufacturersPath, manufacturer, "claims")+"?"+url.Values{"after": {after}}.Encode(), nil, &out)
}

// Claim reads what one of a manufacturer's devices is to us.
func (c *Client) Claim(ctx context.Context, manufacturer, serial string) (out v1.Claim, err error) {
	return out, c.do(ctx, http.MethodGet, under(manufacturersPath, manufacturer, "claims", serial), nil, &out)
}

// ReleaseSerials takes claims back.
func (c *Client) ReleaseSerials(ctx context.Context, manufacturer string, r v1.ClaimRelease) (out v1.Claimed, err error) {
	return out, c.do(ctx, http.MethodPost, under(manufacturersPath, manufacturer, "claims", "release"), r, &out)
}

// MakeToken makes an operator's token.
func (c *Client) MakeToken(ctx context.Context, t v1.NewToken) (out v1.TokenMade, err error) {
	return out, c.do(ctx, http.MethodPost, tokensPath, t, &out)
}

// Tokens reads every token.
func (c *Client) Tokens(ctx context.Context) (out v1.Tokens, err error) {
	return out, c.do(ctx, http.MethodGet, tokensPath, nil, &out)
}

// WithdrawToken ends a token before its time.
func (c *Client) WithdrawToken(ctx context.Context, id, why string) (out v1.Token, err error) {
	return out, c.do(ctx, http.MethodPost, under(tokensPath, id, "withdraw"), v1.Change{Why: why}, &out)
}

// Authority reads what is trusted, and who issues.
func (c *Client) Authority(ctx context.Context) (out v1.Authority, err error) {
	return out, c.do(ctx, http.MethodGet, "/api/v1/authority", nil, &out)
}

// RevokeIssuer takes the worth of every certificate that an issuer signed away.
func (c *Client) RevokeIssuer(ctx context.Context, issuer, why string) (out v1.Authority, err error) {
	return out, c.do(ctx, http.MethodPost, under("/api/v1/authority/issuers", issuer, "revoke"), v1.Change{Why: why}, &out)
}

// Security reads how well the fleet's identities are kept.
func (c *Client) Security(ctx context.Context) (out v1.Security, err error) {
	return out, c.do(ctx, http.MethodGet, "/api/v1/security", nil, &out)
}

// Status reads what the registry's process does.
func (c *Client) Status(ctx context.Context) (out v1.Status, err error) {
	return out, c.do(ctx, http.MethodGet, "/api/v1/status", nil, &out)
}
