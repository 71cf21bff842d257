package journal_test

import (
	"slices"
	"testing"

	. "github.com/linkspan/linkspan/spool/journal"
)

// P5: a segment was made in vain when the disk failed, and removed; appends went on in the one before; and a loss of power brought
// its name back, with its header or without. It is not where the one before ends.
func TestLeftoverSegmentEndsNothing(t *testing.T) {
	disk, path, at := logOf(t)
	for name, content := range map[string][]byte{"empty": {}, "header": disk.Content(path)[:SegmentHeader], "zeroes": make([]byte, MinSegment)} {
		t.Run(name, func(t *testing.T) {
			d := disk.Kill()
			d.SetContent("/spool/"+SegmentName(7), content)
			if got, rec := recovered(t, d); !slices.Equal(got, upTo(len(at)-1)) {
				t.Errorf("%v, %+v", got, rec)
			}
		})
	}
}
