package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"kubesolo.io/os/internal/netcfg"
)

// KernelArgs turns the values of kubesolo.hostname= and kubesolo.ip= ("" when
// absent) into the highest source. Both errors are returned if both are wrong;
// the Part then lacks what was wrong.
func KernelArgs(hostname, ip string) (Part, error) {
	p := Part{Source: "kernel arguments"}
	var errs []error
	if hostname != "" {
		if err := ValidHostname(hostname); err != nil {
			errs = append(errs, fmt.Errorf("kubesolo.hostname: %w", err))
		} else {
			p.Hostname = &hostname
		}
	}
	if ip != "" {
		network, host, err := ParseIP(ip)
		if err != nil {
			errs = append(errs, fmt.Errorf("kubesolo.ip=%s: %w", ip, err))
		} else {
			p.Network = &network
			if host != "" && p.Hostname == nil {
				p.Hostname = &host
			}
		}
	}
	return p, errors.Join(errs...)
}

// ipFields are the fields of the kernel's ip= argument
// (Documentation/admin-guide/nfs/nfsroot.rst). The server and what comes after
// the DNS servers have no use here and are ignored.
const (
	ipClient = iota
	ipServer
	ipGateway
	ipMask
	ipHost
	ipDevice
	ipAuto
	ipDNS0
	ipDNS1
	ipFields
)

const ipHint = "write client::gateway:mask:host:device:off:dns0:dns1, :::::device:dhcp, or dhcp"

// ParseIP reads the kernel's ip= syntax. The mask is dotted or a number of
// bits. An IPv6 client, gateway or DNS server is written in brackets.
func ParseIP(s string) (netcfg.Config, string, error) {
	f := splitIP(s)
	if len(f) == 1 && autoconf(f[0]) {
		return netcfg.Default(), "", nil
	}
	if len(f) == 1 {
		return netcfg.Config{}, "", fmt.Errorf("%q is no known method; %s", s, ipHint)
	}
	f = append(f, make([]string, ipFields)...)

	// Without a device the kernel, too, takes the first link that is there: an
	// address must not be on two.
	link := netcfg.Link{ID: "kubesolo.ip", Match: netcfg.Match{Physical: true}, First: true}
	if dev := f[ipDevice]; dev != "" {
		link.Match, link.First = netcfg.Match{Name: dev}, false
	}
	var errs []error
	switch {
	case f[ipClient] == "" && (autoconf(f[ipAuto]) || f[ipAuto] == ""):
		link.DHCP4, link.First = true, false
	case f[ipClient] == "":
		errs = append(errs, fmt.Errorf("no client address and method %q; %s", f[ipAuto], ipHint))
	default:
		addr, err := clientPrefix(f[ipClient], f[ipMask])
		if err != nil {
			errs = append(errs, err)
		} else {
			link.Addresses = []netip.Prefix{addr}
		}
	}
	if f[ipGateway] != "" {
		gw, err := netip.ParseAddr(f[ipGateway])
		if err != nil {
			errs = append(errs, fmt.Errorf("gateway %q is not an address", f[ipGateway]))
		} else {
			link.Routes = []netcfg.Route{DefaultRoute(gw)}
		}
	}
	for _, d := range f[ipDNS0 : ipDNS1+1] {
		if d == "" {
			continue
		}
		a, err := netip.ParseAddr(d)
		if err != nil {
			errs = append(errs, fmt.Errorf("DNS server %q is not an address", d))
			continue
		}
		link.Nameservers = append(link.Nameservers, a)
	}
	if f[ipHost] != "" {
		if err := ValidHostname(f[ipHost]); err != nil {
			errs = append(errs, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return netcfg.Config{}, "", err
	}
	return netcfg.Config{Links: []netcfg.Link{link}}, f[ipHost], nil
}

// DefaultRoute is the default route of the gateway's family.
func DefaultRoute(gw netip.Addr) netcfg.Route {
	all := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	if gw.Is6() {
		all = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	}
	return netcfg.Route{Dst: all, Via: gw}
}

func autoconf(s string) bool { return s == "dhcp" || s == "on" || s == "any" }

// splitIP splits at colons outside of brackets and takes the brackets away.
func splitIP(s string) []string {
	var out []string
	var field strings.Builder
	inside := false
	for _, r := range s {
		switch {
		case r == '[' && !inside:
			inside = true
		case r == ']' && inside:
			inside = false
		case r == ':' && !inside:
			out = append(out, field.String())
			field.Reset()
		default:
			field.WriteRune(r)
		}
	}
	return append(out, field.String())
}

func clientPrefix(client, mask string) (netip.Prefix, error) {
	addr, err := netip.ParseAddr(client)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("client %q is not an address; %s", client, ipHint)
	}
	if p, err := netip.ParsePrefix(client + "/" + mask); err == nil {
		return p, nil
	}
	if m, err := netip.ParseAddr(mask); err == nil && m.Is4() && addr.Is4() {
		ones, bits := net.IPMask(m.AsSlice()).Size()
		if bits != 0 {
			return netip.PrefixFrom(addr, ones), nil
		}
	}
	if mask == "" {
		return netip.Prefix{}, fmt.Errorf("client %s has no mask; %s", client, ipHint)
	}
	return netip.Prefix{}, fmt.Errorf("mask %q is neither contiguous like 255.255.255.0 nor a number of bits", mask)
}
