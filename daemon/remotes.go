package daemon

import (
	"slices"
	"socktally/record"
)

// tagRemotes returns copies of the records. The ends on other hosts have the tags of their network; its name is the tag
// "name".
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
