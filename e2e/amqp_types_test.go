package e2e

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/linkspan/linkspan/e2e/harness"
)

// encodings are values of every type in every encoding that AMQP has for it [AMQP 1.6].
var encodings = map[string]string{
	"null":    "40",
	"boolean": "5601 5600 41 42",
	"ubyte":   "5000 50ff",
	"ushort":  "600000 60ffff",
	"uint":    "700000ffff 52ff 43",
	"ulong":   "80ffffffffffffffff 53ff 44",
	"byte":    "5180 517f",
	"short":   "618000 617fff",
	"int":     "7180000000 5480 547f",
	"long":    "818000000000000000 5580 557f",
	"float":   "723e200000 7fc00000" + "", // 0.15625, and a NaN below
	"double":  "823fc4000000000000 82fff0000000000000 827ff8000000000001",
	"decimal": "7422500001 842238000000000001 9422080000000000000000000000000001",
	"char":    "7300000041 730001f6a2",
	"time":    "8300000123456789ab 83ffffffffffffffff",
	"uuid":    "98000102030405060708090a0b0c0d0e0f",
	"binary":  "a000 a003ff0001 b000000003ff0001",
	"string":  "a100 a106e29a93c3b600 b100000003e29a93",
	"symbol":  "a300 a30378b079 b30000000378b079",
	"list":    "45 c00100 c006035401a1016140 d00000000c0000000254 01c0030154ff",
	"map":     "c10100 c10a04a1016b540144a10176 d100000010 00000004a1016b5401a1016cc1010000",
	"array":   "e002005 4 e0050354010203 e00803a101610162016 3 f00000000900000001 710000000 5 e00400 56",
	"described": "00a3036d79 3a5401 005380a10178 0080000001370000000aa10178 " +
		"00c0030154 05 a10161 0053 10 00 5311 5401",
}

// every returns the values of a type, cut where the specification's grammar cuts them.
func every(t *testing.T, name string) (all [][]byte) {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(encodings[name], " ", ""))
	must(t, err)
	for len(b) > 0 {
		n, err := harness.ValueLength(b)
		if err != nil {
			t.Fatalf("%s: %x: %v", name, b, err)
		}
		all, b = append(all, b[:n]), b[n:]
	}
	return all
}
