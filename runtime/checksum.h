/* SPDX-License-Identifier: Apache-2.0
 *
 * A 64-bit checksum at the speed of memory, against damage and mistakes. Deliberately no cryptographic hash: who can
 * write the files that are checked can write the checksums too, and one would take ten times as long as the
 * reading. */
#ifndef OCTANT_CHECKSUM_H
#define OCTANT_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>

/* Of the bytes and of `seed`: a checksum in parts is made by giving each part the checksum of those before (the
 * result then depends on where it was cut). On machines of other byte order results differ. */
uint64_t checksum_of(const void *data, size_t bytes, uint64_t seed);

#endif
