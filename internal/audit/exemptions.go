package audit

// An Exemption is what other lists ask for and this system does otherwise.
type Exemption struct{ Group, Name, From, Reason string }

// Exemptions is the whole list, with the reason of each.
func Exemptions() []Exemption {
	const setting, argument, mount, kernel, kubernetes = "kernel setting", "kernel argument", "mount", "kernel", "kubernetes"
	return []Exemption{
		{setting, "user.max_user_namespaces=0", "Talos", "pods with hostUsers: false live in a user namespace, which protects the node better than the ban; the runtime's filter keeps other pods from making one"},
		{setting, "kernel.yama.ptrace_scope=2", "KSPP, Talos", "1 is set: debuggers inside a pod trace their own children"},
		{setting, "kernel.modules_disabled=1", "KSPP", "hardware that is plugged in later needs its module; modules must be signed instead (lockdown), and no service has SYS_MODULE"},
		{setting, "net.ipv4.ip_forward=0", "CIS", "the node is the router of its pods"},
		{setting, "net.ipv4.conf.*.rp_filter=1", "KSPP, CIS", "0: answers to pods and node ports come back another way than they went on a node with several links"},
		{setting, "net.ipv4.conf.*.log_martians=1", "CIS", "a neighbour could fill the kernel log, of which the last part is kept on flash"},
		{setting, "net.ipv6.conf.*.accept_ra=0", "KSPP, CIS", "2: the address by router advertisement (SLAAC) is how many networks give one"},
		{setting, "net.ipv4.ip_local_reserved_ports", "Talos", "all ports of the node are below the range from which outgoing connections take theirs (32768)"},
		{setting, "net.ipv4.tcp_sack=0, tcp_timestamps=0", "KSPP", "they cost throughput on bad links, which edge nodes have"},
		{setting, "kernel.ctrl-alt-del=0", "Talos", "ksinit takes the keys over itself (reboot(2) CAD_OFF) and stops the node in order"},
		{setting, "net.netfilter.nf_conntrack_max=1048576", "Bottlerocket", "kube-proxy sets it by the processors (32768 each, 131072 at least): a million entries are 300 MB of the memory of a small machine"},
		{argument, "consoleblank=0", "Talos", "it is what kernels since 4.20 do without the argument"},
		{argument, "pti=on", "KSPP, Talos", "the kernel switches page table isolation on for each processor that needs it; on the others every system call would pay for nothing"},
		{argument, "init_on_free=1", "KSPP", "init_on_alloc=1 already zeroes what is used again; zeroing twice costs memory bandwidth"},
		{argument, "mitigations=auto,nosmt", "KSPP", "it halves the processors of small machines, whose pods mostly trust each other; auto, the default, is in force"},
		{argument, "iommu.passthrough=0 iommu.strict=1", "KSPP", "the kernel's default (translated, lazy) is kept: strict costs network throughput on small machines"},
		{argument, "module.sig_enforce=1", "Talos", "lockdown=integrity enforces the same"},
		{argument, "proc_mem.force_override=never", "Talos", "kernels before 6.12 do not have it"},
		{argument, "slub_debug=FZ, debugfs=off", "KSPP", "checks for developers that slow each allocation down; debugfs is mounted for root only, and closed by lockdown"},
		{mount, "noexec on /run, /var, /data", "Talos 1.14", "images, writable layers and volumes of pods are there, and so are the bundles of containers"},
		{mount, "hidepid=2 on /proc", "-", "there is no user but root on the node; pods have PID namespaces"},
		{kernel, "SELinux or AppArmor policy", "Bottlerocket, CIS", "a policy of our own is not there; the kernel's part is built in. Pods are held by capabilities, the system call filter and namespaces"},
		{kernel, "dm-verity of the root", "Bottlerocket, CIS", "the root is unpacked from the boot image into memory; whoever can write the boot image can replace the kernel too, against which only Secure Boot helps"},
		{kernel, "KASLR kernel build options", "KSPP", "the kernel is Debian's, unchanged and signed; what it must have is in kernel/required.options"},
		{kernel, "udf, sctp, dccp, rds, tipc disabled", "CIS", "these modules are not on the image (kernel/modules.list)"},
		{kernel, "default-deny packet filter", "CIS", "the sockets of the node are few, listed and authenticated; ports that pods publish are meant to be reached. A filter belongs in front of the node or in NetworkPolicy"},
		{kernel, "persistent audit log (auditd)", "CIS", "it writes flash for a log that nobody on the node reads; pods' own logs and Kubernetes events are kept"},
		{kubernetes, "kubelet protectKernelDefaults", "CIS 4.2.6, Talos", "the kubelet then refuses to start when a setting differs by one, also one that an operator set in cloud-init; ksinit sets what the kubelet wants before it starts, and the kubelet sets it again"},
		{kubernetes, "kubelet makeIPTablesUtilChains=true", "CIS 4.2.7", "the node uses nftables and has no iptables program"},
		{kubernetes, "kubelet rotateKubeletServerCertificate, rotateCertificates", "CIS 4.2.11, 4.2.12", "the node signs its own certificates and renews them at each start; there is no other authority to ask"},
		{kubernetes, "kubelet eventRecordQPS=0", "CIS 4.2.9", "the default (50 a second, in bursts) bounds what a crash loop writes to flash"},
		{kubernetes, "API server audit log", "CIS 1.2.16 to 1.2.19, Talos", "every request would be a line written to flash, and whoever can change the node can change the log beside it"},
		{kubernetes, "encryption of Secrets at rest", "CIS 1.2.27, Talos", "the key would lie beside the data; it helps only with a key in hardware (TPM), which the node does not use"},
		{kubernetes, "AlwaysPullImages", "CIS 1.2.11", "pods must start without a network"},
		{kubernetes, "PodSecurity baseline for all namespaces", "Talos", "a single node runs what its owner gives it, often with host paths and devices; namespaces can be labelled, the admission plugin is on"},
		{kubernetes, "etcd client and peer TLS", "CIS 2.x", "the datastore is a Unix socket of root inside one process; there is no peer"},
		{kubernetes, "controller manager: use-service-account-credentials", "CIS 1.3.3", "all controllers are one process with the API server, see package controllers"},
		{kubernetes, "EventRateLimit", "CIS 1.2.9", "an alpha plugin; one node and its controllers are the only writers of events"},
		{kubernetes, "API priority and fairness", "-", "it costs memory, and there are no competing tenants; requests in flight are limited"},
	}
}
