// SPDX-License-Identifier: BSD-2-Clause
/* Memory and quotas by uid. Nothing that a consumer has seen changes owner. */
#include "account.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "log.h"
#include "priv.h"

#define SLICES (REGION_ALIGN / NR_RING_SIZE)
#define SECOND UINT64_C(1000000000)
#define LINES_RATE 20

struct account *account_get(struct account **accounts, uid_t uid,
			    uint64_t max_memory)
{
	struct account *account;

	for (account = *accounts; account; account = account->next)
		if (account->uid == uid) {
			account->max_memory =
				max_memory; /* reloads change it */
			return account;
		}
	account = calloc(1, sizeof(*account));
	if (!account)
		return NULL;
	account->uid = uid;
	account->max_memory = max_memory;
	account->next = *accounts;
	*accounts = account;
	return account;
}

static void free_pages(struct return_pages *pages)
{
	munmap(pages->pages, (size_t)pages->count * NR_PAGE);
	close(pages->fd);
	free(pages);
}

void account_free_all(struct account **accounts)
{
	struct account *account;
	struct ring_region *region;
	struct return_pages *pages;

	while ((account = *accounts)) {
		*accounts = account->next;
		while ((region = account->regions)) {
			account->regions = region->next;
			region_free(&region->region);
			free(region);
		}
		while ((pages = account->free_pages)) {
			account->free_pages = pages->next;
			free_pages(pages);
		}
		free(account);
	}
}

/* A bucket that holds a second's worth. */
static bool take(uint64_t *bucket_ns, uint32_t rate, uint64_t now_ns)
{
	uint64_t price = SECOND / rate;

	if (*bucket_ns + SECOND < now_ns)
		*bucket_ns = now_ns - SECOND;
	if (*bucket_ns + price > now_ns)
		return false;
	*bucket_ns += price;
	return true;
}

bool account_take_attach(struct account *account, uint32_t rate,
			 uint64_t now_ns)
{
	return take(&account->rate_ns, rate, now_ns);
}

bool account_take_line(struct account *account, uint64_t now_ns)
{
	if (!take(&account->lines_ns, LINES_RATE, now_ns)) {
		account->untold++;
		return false;
	}
	if (account->untold > 0)
		log_warn("uid %u: %u closed connections were not logged",
			 account->uid, account->untold);
	account->untold = 0;
	return true;
}

/* What is made stays: a consumer may have mapped it for ever. */
static bool charge_memory(struct account *account, size_t size)
{
	if (account->memory + size > account->max_memory)
		return false;
	account->memory += size;
	return true;
}

static int add_region(struct account *account, bool small_pages)
{
	struct ring_region *region =
		calloc(1, sizeof(*region) + SLICES * sizeof(struct ring_slice));
	int err;

	if (!region || !charge_memory(account, REGION_ALIGN)) {
		free(region);
		return -ENOMEM;
	}
	err = region_new(&region->region, "netring-rings", REGION_ALIGN,
			 small_pages);
	if (err) {
		account->memory -= REGION_ALIGN; /* nobody has seen it */
		free(region);
		return err;
	}
	region->next = account->regions;
	account->regions = region;
	for (size_t i = 0; i < SLICES; i++) {
		region->slices[i].region = &region->region;
		region->slices[i].offset = i * NR_RING_SIZE;
		account_give_slice(account, &region->slices[i]);
	}
	return 0;
}

struct ring_slice *account_take_slice(struct account *account, bool small_pages)
{
	struct ring_slice *slice;

	if (!account->free_slices && add_region(account, small_pages))
		return NULL;
	slice = account->free_slices;
	account->free_slices = slice->next;
	memset(ring_slice_ring(slice), 0, NR_RING_SIZE);
	return slice;
}

void account_give_slice(struct account *account, struct ring_slice *slice)
{
	slice->next = account->free_slices;
	account->free_slices = slice;
}

/*
 * Without a privileged warden. A consumer can punch holes into this and make
 * the lane wait for the page: only its own user's broker runs so.
 */
static int pages_from_memfd(size_t size)
{
	int fd =
		memfd_create("netring-return", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0)
		return -errno;
	if (ftruncate(fd, (off_t)size) || fallocate(fd, 0, 0, (off_t)size) ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)) {
		close(fd);
		return -ENOMEM;
	}
	return fd;
}

static struct return_pages *new_pages(uint32_t count, bool from_warden)
{
	struct return_pages *pages = calloc(1, sizeof(*pages));
	size_t size = (size_t)count * NR_PAGE;
	int err = 0;

	if (!pages)
		return NULL;
	if (from_warden)
		err = priv_return_pages(count, &pages->fd);
	else
		pages->fd = pages_from_memfd(size);
	if (err || pages->fd < 0) {
		free(pages);
		return NULL;
	}
	pages->count = count;
	/* Writable, although only ever zeroed: BPF_MAP_FREEZE then fails. */
	pages->pages = mmap(NULL, size, PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_POPULATE, pages->fd, 0);
	if (pages->pages == MAP_FAILED) {
		close(pages->fd);
		free(pages);
		return NULL;
	}
	return pages;
}

struct return_pages *account_take_pages(struct account *account, uint32_t count,
					bool from_warden)
{
	struct return_pages **link = &account->free_pages, *pages;

	while (*link && (*link)->count != count)
		link = &(*link)->next;
	pages = *link;
	if (!pages) {
		if (!charge_memory(account, (size_t)count * NR_PAGE))
			return NULL;
		pages = new_pages(count, from_warden);
		if (!pages)
			account->memory -= (size_t)count * NR_PAGE;
		return pages;
	}
	*link = pages->next;
	memset(pages->pages, 0, (size_t)count * NR_PAGE);
	return pages;
}

void account_give_pages(struct account *account, struct return_pages *pages)
{
	pages->next = account->free_pages;
	account->free_pages = pages;
}
