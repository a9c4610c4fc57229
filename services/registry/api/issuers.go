package api

import (
	"crypto/x509"

	"muster.dev/services/registry/authority"
	"muster.dev/services/registry/decide"

	v1 "muster.dev/services/registry/api/v1"
)

func authorityOperations() []operation {
	return []operation{
		on(operation{method: "GET", path: "/api/v1/authority", id: "authority", least: Viewer, about: "The certificate authority: what is trusted, and who issues"}, (*API).showAuthority),
		on(operation{method: "POST", path: "/api/v1/authority/issuers/{issuer}/revoke", id: "revokeIssuer", least: Admin,
			about: "Take the worth of every certificate that an issuer signed away, for good"}, (*API).revokeIssuer),
	}
}

func (a *API) showAuthority(c *call, _ *nothing) (out v1.Authority, err error) {
	found, err := a.survey.get(c.Context(), a)
	if err != nil {
		return out, err
	}
	_, issuing := a.authority.Issuing()
	out = v1.Authority{TrustDomain: a.authority.TrustDomain(), Issuing: issuing, Roots: []v1.Issuer{}, Issuers: []v1.Issuer{}}
	for _, root := range a.authority.Roots() {
		out.Roots = append(out.Roots, shapeIssuer(root))
	}
	err = a.see(c.Context(), func(s *decide.State) error {
		for _, known := range s.Issuers() {
			shown := v1.Issuer{Issuer: known.ID}
			if certificate, err := x509.ParseCertificate(known.Certificate); err == nil { // else it would not stand in the log
				shown = shapeIssuer(certificate)
			}
			shown.Revoked, shown.Devices = known.Revoked, found.issuers[known.ID]
			out.Issuers = append(out.Issuers, shown)
		}
		return nil
	})
	return out, err
}

func (a *API) revokeIssuer(c *call, _ *v1.Change) (v1.Authority, error) {
	if _, err := a.tell(c, decide.RevokeIssuer{Issuer: c.PathValue("issuer")}); err != nil {
		return v1.Authority{}, err
	}
	return a.showAuthority(c, nil)
}

func shapeIssuer(certificate *x509.Certificate) v1.Issuer {
	return v1.Issuer{
		Issuer: authority.ID(certificate), Subject: certificate.Subject.String(),
		NotBefore: certificate.NotBefore.UTC(), NotAfter: certificate.NotAfter.UTC(),
	}
}
