package api

import (
	"crypto/x509"
	"encoding/pem"

	"muster.dev/services/registry/decide"

	v1 "muster.dev/services/registry/api/v1"
)

func manufacturerOperations() []operation {
	const one = "/api/v1/manufacturers/{name}"
	return []operation{
		on(operation{method: "GET", path: "/api/v1/manufacturers", id: "manufacturers", least: Viewer, about: "Every manufacturer that is trusted"}, (*API).manufacturers),
		on(operation{method: "PUT", path: one, id: "trustManufacturer", least: Admin,
			about: "Let devices enrol by certificates that these authorities signed, if their serial numbers are claimed"}, (*API).trustManufacturer),
		on(operation{method: "POST", path: one + "/distrust", id: "distrustManufacturer", least: Admin, about: "End that; what enrolled by it stays"}, (*API).distrustManufacturer),
		on(operation{method: "POST", path: one + "/claims", id: "claimSerials", least: Operator, about: "Say which of a manufacturer's devices are ours, all or none"}, (*API).claimSerials),
		on(operation{method: "GET", path: one + "/claims", id: "claims", least: Viewer, query: []parameter{
			{name: "after", about: "Only serial numbers that come after this one"},
			{name: "limit", about: "At most so many: 1000 unless told, and at most", number: true},
		}, about: "Which of a manufacturer's devices are ours, in the order of their serial numbers"}, (*API).claims),
		on(operation{method: "GET", path: one + "/claims/{serial}", id: "claim", least: Viewer, about: "What one of a manufacturer's devices is to us"}, (*API).claim),
		on(operation{method: "POST", path: one + "/claims/release", id: "releaseSerials", least: Operator, about: "Take claims back, all or none; what enrolled by them stays"}, (*API).releaseSerials),
	}
}

func (a *API) manufacturers(c *call, _ *nothing) (v1.Manufacturers, error) {
	out := v1.Manufacturers{Manufacturers: []v1.Manufacturer{}}
	err := a.see(c.Context(), func(s *decide.State) error {
		for _, m := range s.Manufacturers() {
			out.Manufacturers = append(out.Manufacturers, shapeManufacturer(s, m))
		}
		return nil
	})
	return out, err
}

func (a *API) trustManufacturer(c *call, body *v1.ManufacturerTrust) (out v1.Manufacturer, err error) {
	command := decide.TrustManufacturer{Name: c.PathValue("name")}
	for rest := []byte(body.Certificates); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return out, unfit("certificates", "there is a PEM block %.40q: want certificates alone", block.Type)
		}
		command.Certificates = append(command.Certificates, block.Bytes)
	}
	if len(command.Certificates) == 0 {
		return out, unfit("certificates", "there is no certificate in it: want a manufacturer's CA certificates in PEM, -----BEGIN CERTIFICATE-----")
	}
	if _, err := a.tell(c, command); err != nil {
		return out, err
	}
	err = a.see(c.Context(), func(s *decide.State) error {
		m, _ := s.Manufacturer(command.Name)
		out = shapeManufacturer(s, m)
		return nil
	})
	return out, err
}

func (a *API) distrustManufacturer(c *call, _ *v1.Change) (v1.Manufacturers, error) {
	if _, err := a.tell(c, decide.DistrustManufacturer{Name: c.PathValue("name")}); err != nil {
		return v1.Manufacturers{}, err
	}
	return a.manufacturers(c, nil)
}

func shapeManufacturer(s *decide.State, m decide.Manufacturer) v1.Manufacturer {
	out := v1.Manufacturer{Name: m.Name, Certificates: []string{}, Claims: s.Claims(m.Name)}
	for _, der := range m.Certificates {
		if certificate, err := x509.ParseCertificate(der); err == nil { // else it would not stand in the log
			out.Certificates = append(out.Certificates, certificate.Subject.String())
		}
	}
	return out
}

func (a *API) claimSerials(c *call, body *v1.NewClaims) (v1.Claimed, error) {
	command := decide.ClaimSerials{Manufacturer: c.PathValue("name"), Label: body.Label}
	for _, claim := range body.Claims {
		command.Claims = append(command.Claims, decide.Claim{Serial: claim.Serial, Device: claim.Device})
	}
	_, err := a.tell(c, command)
	return v1.Claimed{Manufacturer: command.Manufacturer, Serials: len(command.Claims)}, err
}

const shownClaims = 1000

func (a *API) claims(c *call, _ *nothing) (v1.Claims, error) {
	out := v1.Claims{Claims: []v1.Claim{}}
	name := c.PathValue("name")
	given, err := number(c.Request, "limit", shownClaims, shownClaims)
	if err != nil {
		return out, err
	}
	limit := int(max(given, 1))
	err = a.see(c.Context(), func(s *decide.State) error {
		if _, ok := s.Manufacturer(name); !ok && s.Claims(name) == 0 {
			return missing("name", "there is no manufacturer %.80q", name)
		}
		page := s.ClaimsAfter(name, c.URL.Query().Get("after"), limit+1)
		if len(page) > limit {
			page = page[:limit]
			out.Next = page[limit-1].Serial
		}
		for _, claimed := range page {
			out.Claims = append(out.Claims, v1.Claim{Serial: claimed.Serial, Device: string(claimed.Device), Label: claimed.Label})
		}
		return nil
	})
	return out, err
}

func (a *API) claim(c *call, _ *nothing) (out v1.Claim, err error) {
	err = a.see(c.Context(), func(s *decide.State) error {
		claimed, ok := s.Claim(c.PathValue("name"), c.PathValue("serial"))
		if !ok {
			return missing("serial", "%.80q of %.80q is not claimed", c.PathValue("serial"), c.PathValue("name"))
		}
		out = v1.Claim{Serial: c.PathValue("serial"), Device: string(claimed.Device), Label: claimed.Label}
		return nil
	})
	return out, err
}

func (a *API) releaseSerials(c *call, body *v1.ClaimRelease) (v1.Claimed, error) {
	_, err := a.tell(c, decide.ReleaseSerials{Manufacturer: c.PathValue("name"), Serials: body.Serials})
	return v1.Claimed{Manufacturer: c.PathValue("name"), Serials: len(body.Serials)}, err
}
