package share

import "net/netip"

// Host is an address (host:port, as net/http and net write it) without its port; the zero one if it is of no kind that is
// known.
func Host(address string) netip.Addr {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return netip.Addr{}
	}
	return at.Addr().Unmap().WithZone("")
}

// Address is whom a bound per address counts: an IPv6 host has a whole /64 to choose from.
func Address(address string) netip.Prefix {
	ip, bits := Host(address), 32
	if ip.Is6() {
		bits = 64
	}
	p, err := ip.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}
