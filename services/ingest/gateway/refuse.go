package gateway

import (
	"muster.dev/platform/roster"
	"muster.dev/services/ingest/gateway/answer"
	"muster.dev/services/ingest/gateway/door"
	"muster.dev/services/ingest/gateway/standing"
)

const fieldCertificate = "certificate"

// standing is the answer for one who may not speak for the device that its certificate names.
func (c *call) standing(v *standing.Verdict, peer *door.Peer) *answer.Problem {
	id, serial := peer.Device, peer.Serial
	switch v.Standing {
	case roster.Unknown:
		return c.problemf(answer.NotEnrolled, fieldCertificate, 0, "Device %q is not enrolled in this fleet. Enrol it, or connect to the fleet that it belongs to.", id)
	case roster.Quarantined:
		// The connection stays: a release is heard at the next message, and a handshake costs more than this.
		return c.problemf(answer.Isolated, fieldCertificate, 0, "Device %q is in quarantine: an operator has isolated it, and takes nothing from it until it is released. Keep the message, and ask the operator.", id)
	case roster.Superseded:
		if v.Young && c.at.Add(-c.g.roster.Age()).Before(peer.Began) {
			return c.problemf(answer.RosterStale, fieldCertificate, 0, "Certificate %s of device %q is not known here yet: the gateway's copy of the registry is older than the connection. Send the message again under the same seq.", serial, id)
		}
	}
	c.hangUp = true
	switch v.Standing {
	case roster.DeviceRevoked:
		if v.Device.ReplacedBy != 0 {
			return c.problemf(answer.Revoked, fieldCertificate, 0, "Device %q is revoked: another has taken its place. An operator has to give it an identity of its own.", id)
		}
		return c.problemf(answer.Revoked, fieldCertificate, 0, "Device %q is revoked. An operator has to replace its identity.", id)
	case roster.CertificateRevoked:
		return c.problemf(answer.CertificateRevoked, fieldCertificate, 0, "Certificate %s of device %q is revoked, and its key with it. Enrol again with a new key.", serial, id)
	case roster.AuthorityRevoked:
		return c.problemf(answer.AuthorityRevoked, fieldCertificate, 0, "The authority that signed certificate %s of device %q is revoked. Fetch the authorities anew, and enrol again with a new key.", serial, id)
	default:
		return c.problemf(answer.Superseded, fieldCertificate, 0, "Certificate %s is none of those that device %q may use: newer ones have taken its place, or it was never written down. Use the newest, or enrol again.", serial, id)
	}
}

// region refuses a device whose data must stay in another region than this gateway's.
func (c *call) region() *answer.Problem {
	here, theirs := c.g.cfg.Region, c.device.Region
	if here == "" || theirs == "" || here == theirs {
		return nil
	}
	c.hangUp = true
	gateway, known := c.g.roster.Region(theirs)
	var p *answer.Problem
	if known && gateway != "" {
		p = c.problemf(answer.OtherRegion, "region", 0, "Device %q belongs to region %q, and this gateway takes region %q: nothing was stored. Send to %s.", c.device.ID, theirs, here, gateway)
	} else {
		p = c.problemf(answer.OtherRegion, "region", 0, "Device %q belongs to region %q, and this gateway takes region %q: nothing was stored. No gateway of that region is known; ask an operator.", c.device.ID, theirs, here)
	}
	p.Region, p.Gateway = theirs, gateway
	return p
}
