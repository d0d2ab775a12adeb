package daemon

import (
	"slices"
	"socktally/record"
)

// nameRemotes gives the ends that are on other hosts the tags that the table of networks has for them,
// its name as the tag "name". The caller's records stay as they are.
func (f *flowTally) tagRemotes(records []record.Flow, queries []record.DNS) ([]record.Flow, []record.DNS) {
	if f.networks.Load().Len() == 0 {
		return records, queries
	}
	records, queries = slices.Clone(records), slices.Clone(queries)
	for i := range records {
		f.tagRemote(records[i].Direction, &records[i].Client, &records[i].Server)
	}
	for i := range queries {
		f.tagRemote(queries[i].Direction, &queries[i].Client, &queries[i].Server)
	}
	return records, queries
}

func (f *flowTally) tagRemote(d record.Direction, client, server *record.Endpoint) {
	_, e := d.Ends(client, server)
	if d == record.Local || !e.Addr.IsValid() {
		return
	}
	name, tags := f.networks.Load().Lookup(e.Addr)
	if name != "" {
		tags = append(slices.Clip(tags), "name:"+name)
	}
	e.Owner.Tags = tags
}
