// Package pki owns the certificates and keys under <path>/pki and the
// kubeconfig files made of them.
//
// Ensure is idempotent. The two authorities ("ca", "request-header") and the
// service account key are made once and never again: an address change only
// re-signs the leaf certificates that name the address, so tokens in running
// pods and kubeconfigs on laptops stay valid. (Upstream v1.2.0 sweeps the
// service account key together with the leafs.)
//
// A leaf is re-signed when it expires within RenewBefore, is not valid yet,
// was signed by another authority, or its subject, names or addresses changed.
// Its key is kept unless it does not fit the certificate.
//
// Validity is chosen so that a wrong clock does not break the node for good: a
// certificate starts a day before the earlier of clock and floor, and ends its
// lifetime after the later of the two. The floor is a time that is surely past.
//
// Keys are ECDSA P-256: RSA key generation took seconds on small boards.
//
// It never reads options or the network. Tested on temporary directories with
// chosen clocks.
package pki
