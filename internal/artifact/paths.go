package artifact

import "context"

// Paths returns the files of src that Pack would choose under the rules. Of the
// content of src, only .sourceignore files are read. Errors are those of Pack.
func (s *Store) Paths(ctx context.Context, src Source, ignore Ignore) ([]string, error) {
	chosen, err := choose(ctx, src, ignore, s.o.MaxFiles)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, e := range chosen {
		if !e.Dir {
			out = append(out, e.path)
		}
	}
	return out, nil
}
