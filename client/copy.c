/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A batch that outlives its blocks: one allocation with the structure, the
 * records, and the bytes close together behind them.
 */
#include "capture.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static uint64_t bytes_of(const struct nr_batch *batch)
{
	uint64_t sum = 0;
	uint32_t i;

	for (i = 0; i < batch->count; i++) {
		const struct nr_record *record = nr_batch_record(batch, i);

		if (nr_batch_data(batch, record))
			sum += record->caplen;
	}
	return sum;
}

/*
 * The caplen is taken from the copy and measured against the room there is: the
 * shared one could be another by now, if the broker is broken.
 */
static void copy_bytes(const struct nr_batch *from, struct nr_batch *to)
{
	uint8_t *records = (uint8_t *)(uintptr_t)to->records;
	uint8_t *region = (uint8_t *)(uintptr_t)to->region;
	uint64_t used = 0;
	uint32_t i;

	for (i = 0; i < to->count; i++) {
		struct nr_record *record =
			(void *)(records + (size_t)i * to->stride);
		const uint8_t *data = nr_batch_data(from, record);

		if (!data || record->caplen > to->region_size - used) {
			record->offset = UINT32_MAX; /* reads as NULL again */
			continue;
		}
		memcpy(region + used, data, record->caplen);
		record->offset = (uint32_t)used;
		used += record->caplen;
	}
}

int nr_batch_copy(const struct nr_batch *batch, struct nr_owned **owned)
{
	size_t records_size = (size_t)batch->count * batch->stride;
	uint64_t bytes = bytes_of(batch);
	struct nr_owned *copy;
	uint8_t *records;

	/* an offset has 32 bits */
	if (bytes >= UINT32_MAX)
		return -ENOMEM;
	copy = malloc(sizeof(*copy) + records_size + (size_t)bytes);
	if (!copy)
		return -ENOMEM;
	records = (uint8_t *)(copy + 1);
	memcpy(records, batch->records, records_size);
	copy->batch = *batch;
	copy->batch.records = records;
	copy->batch.region = records + records_size;
	copy->batch.region_size = bytes;
	copy->batch.capture = NULL;
	copy_bytes(batch, &copy->batch);
	*owned = copy;
	return 0;
}

void nr_owned_free(struct nr_owned *owned)
{
	free(owned);
}
