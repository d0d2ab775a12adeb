package daemon

import (
	"slices"

	"socktally/flows"
)

// nameRemotes gives the ends that are on other hosts the tags that the table of networks has for them,
// its name as the tag "name". The caller's records stay as they are.
func (f *flowTally) nameRemotes(records []flows.Record, queries []flows.DNSRecord) ([]flows.Record, []flows.DNSRecord) {
	if f.networks.Load().Len() == 0 {
		return records, queries
	}
	records, queries = slices.Clone(records), slices.Clone(queries)
	for i := range records {
		switch r := &records[i]; r.Direction {
		case flows.Outgoing:
			f.nameRemote(&r.Server)
		case flows.Incoming:
			f.nameRemote(&r.Client)
		}
	}
	for i := range queries {
		// Of the two ends of DNS, the one here has an owner.
		if q := &queries[i]; q.Server.Owner.PID == 0 {
			f.nameRemote(&q.Server)
		} else if q.Client.Owner.PID == 0 {
			f.nameRemote(&q.Client)
		}
	}
	return records, queries
}

func (f *flowTally) nameRemote(e *flows.Endpoint) {
	if !e.Addr.IsValid() {
		return
	}
	name, tags := f.networks.Load().Lookup(e.Addr)
	if name != "" {
		tags = append(slices.Clip(tags), "name:"+name)
	}
	e.Owner.Tags = tags
}
