package chunk

import "socktally/record"

// Schema is the list of the members of records and owners that have a column. An encoder writes these columns, and a
// decoder knows these. A schema never changes.
type Schema struct {
	flows  []column[record.Flow]
	dns    []column[record.DNS]
	owners []column[record.Owner]
	// optional are the counters that not every kernel has.
	optional []record.Field[record.Counters]
}

// NewSchema returns the schema with these counters. For this program they are record.Fields and record.DNSFields.
func NewSchema(counters []record.Field[record.Counters], dns []record.Field[record.DNSCounts]) *Schema {
	s := &Schema{flows: flowColumns(counters), dns: dnsColumns(dns), owners: ownerColumns()}
	for _, f := range counters {
		if f.Optional != 0 {
			s.optional = append(s.optional, f)
		}
	}
	return s
}

// column is a member of R that has a column in chunks.
type column[R any] struct {
	name string
	// of returns a pointer to the member. The pointer's type says what is in the column:
	//
	//	*uint64, *uint32, *uint16   numbers
	//	*string, *netip.Addr        the number of a text or of an address
	//	*record.Owner               the number of an owner
	//	*record.Known               the number of a text, which has the names of the known counters
	//	*[]string                   blobs: the numbers of some texts
	//	*record.Latency             blobs: a histogram
	of func(*R) any
}

func flowColumns(counters []record.Field[record.Counters]) []column[record.Flow] {
	columns := []column[record.Flow]{
		{"client_owner", func(r *record.Flow) any { return &r.Client.Owner }},
		{"server_owner", func(r *record.Flow) any { return &r.Server.Owner }},
		{"client_ip", func(r *record.Flow) any { return &r.Client.Addr }},
		{"server_ip", func(r *record.Flow) any { return &r.Server.Addr }},
		{"client_port", func(r *record.Flow) any { return &r.Client.Port }},
		{"server_port", func(r *record.Flow) any { return &r.Server.Port }},
		{"protocol", func(r *record.Flow) any { return &r.Protocol }},
		{"family", func(r *record.Flow) any { return &r.Family }},
		{"source", func(r *record.Flow) any { return (*string)(&r.Source) }},
		{"direction", func(r *record.Flow) any { return (*string)(&r.Direction) }},
		{"server_domain", func(r *record.Flow) any { return &r.ServerDomain }},
		{"known", func(r *record.Flow) any { return &r.Known }},
	}
	for _, f := range counters {
		columns = append(columns, column[record.Flow]{f.Name, func(r *record.Flow) any { return f.Of(&r.Counters) }})
	}
	return columns
}

func dnsColumns(counters []record.Field[record.DNSCounts]) []column[record.DNS] {
	columns := []column[record.DNS]{
		{"client_owner", func(r *record.DNS) any { return &r.Client.Owner }},
		{"server_owner", func(r *record.DNS) any { return &r.Server.Owner }},
		{"client_ip", func(r *record.DNS) any { return &r.Client.Addr }},
		{"server_ip", func(r *record.DNS) any { return &r.Server.Addr }},
		{"client_port", func(r *record.DNS) any { return &r.Client.Port }},
		{"server_port", func(r *record.DNS) any { return &r.Server.Port }},
		{"protocol", func(r *record.DNS) any { return &r.Protocol }},
		{"direction", func(r *record.DNS) any { return (*string)(&r.Direction) }},
		{"dns_query", func(r *record.DNS) any { return &r.Name }},
		{"dns_qtype", func(r *record.DNS) any { return &r.Type }},
		{"dns_success_latency", func(r *record.DNS) any { return &r.SuccessLatency }},
		{"dns_failure_latency", func(r *record.DNS) any { return &r.FailureLatency }},
	}
	for _, f := range counters {
		columns = append(columns, column[record.DNS]{f.Name, func(r *record.DNS) any { return f.Of(&r.DNSCounts) }})
	}
	return columns
}

func ownerColumns() []column[record.Owner] {
	return []column[record.Owner]{
		{"pid", func(o *record.Owner) any { return &o.PID }},
		{"process", func(o *record.Owner) any { return &o.Process }},
		{"service", func(o *record.Owner) any { return &o.Service }},
		{"env", func(o *record.Owner) any { return &o.Env }},
		{"version", func(o *record.Owner) any { return &o.Version }},
		{"tags", func(o *record.Owner) any { return &o.Tags }},
		{"cgroup_id", func(o *record.Owner) any { return &o.CgroupID }},
		{"cgroup", func(o *record.Owner) any { return &o.Cgroup }},
		{"container_id", func(o *record.Owner) any { return &o.ContainerID }},
		{"pod_uid", func(o *record.Owner) any { return &o.PodUID }},
		{"netns", func(o *record.Owner) any { return &o.NetNS }},
	}
}
