package api

import (
	"encoding/hex"
	"strings"

	"muster.dev/platform/roster"
	"muster.dev/proto/identity"
	"muster.dev/services/registry/decide"

	v1 "muster.dev/services/registry/api/v1"
)

func certificateOperations() []operation {
	return []operation{
		on(operation{method: "GET", path: "/api/v1/certificates/{serial}", id: "certificate", least: Viewer,
			about: "A certificate by its serial number: whose it is"}, (*API).certificate),
		on(operation{method: "POST", path: "/api/v1/certificates/{serial}/revoke", id: "revokeCertificate", least: Operator,
			about: "Take one certificate's worth away, for good; the device's others stay"}, (*API).revokeCertificate),
	}
}

// serialOf is the serial that the path names, as openssl, a browser or the log writes it.
func serialOf(c *call) string {
	serial := strings.ToLower(strings.ReplaceAll(c.PathValue("serial"), ":", ""))
	return strings.TrimLeft(strings.TrimPrefix(serial, "0x"), "0")
}

func (a *API) certificate(c *call, _ *nothing) (out v1.Certificate, err error) {
	serial := serialOf(c)
	err = a.see(c.Context(), func(s *decide.State) error {
		if d, ok := s.DeviceBySerial(serial); ok {
			for _, held := range d.Certificates {
				if held.Serial == serial {
					out = shapeCertificate(d.ID, held)
					return nil
				}
			}
		}
		return missing("serial", "no certificate %.80q that a device may use was issued", serial)
	})
	return out, err
}

func (a *API) revokeCertificate(c *call, _ *v1.Change) (v1.Certificate, error) {
	if _, err := a.tell(c, decide.RevokeCertificate{Serial: serialOf(c)}); err != nil {
		return v1.Certificate{}, err
	}
	return a.certificate(c, nil)
}

func shapeCertificate(device identity.Device, held roster.Certificate) v1.Certificate {
	return v1.Certificate{
		Serial: held.Serial, Device: string(device), SPKI: hex.EncodeToString(held.SPKI[:]), Issuer: held.Issuer,
		NotBefore: instant(held.NotBefore), NotAfter: instant(held.NotAfter), Revoked: held.Revoked,
	}
}
