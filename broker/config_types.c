/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The kinds of value a key can have: how each is read from text, described to
 * a person who got it wrong, and checked when it comes as memory.
 */
#include "config_private.h"

#include <ctype.h>
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>

#define KIB UINT64_C(1024)

/* ---------------------------------------------------------------- numbers */

/* The whole of @text as a number: no junk, no sign but a wanted one. */
static bool parse_number(const char *text, int64_t *number)
{
	const char *digits = text + (*text == '-');
	char *end;

	if (!isdigit((unsigned char)*digits))
		return false;
	errno = 0;
	*number = strtoll(text, &end, 10);
	return !errno && !*end;
}

/* A number with K, M or G behind it. */
static bool parse_size(const char *text, int64_t *bytes)
{
	static const char suffixes[] = "KMG";
	size_t length = strlen(text);
	char digits[24];
	const char *suffix;
	int shift = 0;

	if (!length || length >= sizeof(digits))
		return false;
	memcpy(digits, text, length + 1);
	suffix = strchr(suffixes, toupper((unsigned char)text[length - 1]));
	if (suffix) {
		shift = 10 * (int)(suffix - suffixes + 1);
		digits[length - 1] = '\0';
	}
	if (digits[0] == '-' || !parse_number(digits, bytes) ||
	    *bytes > INT64_MAX >> shift)
		return false;
	*bytes <<= shift;
	return true;
}

char *config_size_text(char *out, size_t size, uint64_t bytes)
{
	static const char *const suffixes[] = { "", "K", "M", "G" };
	unsigned i = 0;

	while (i < 3 && bytes && bytes % KIB == 0) {
		bytes /= KIB;
		i++;
	}
	snprintf(out, size, "%llu%s", (unsigned long long)bytes, suffixes[i]);
	return out;
}

static bool is_in_range(const struct config_key *key, int64_t number)
{
	return number >= key->min && number <= key->max;
}

static void describe_number(const struct config_key *key, char *right)
{
	snprintf(right, RIGHT_MAX, "must be a number from %lld to %lld: %s",
		 (long long)key->min, (long long)key->max, key->help);
}

static void describe_size(const struct config_key *key, char *right)
{
	char min[32], max[32];

	config_size_text(min, sizeof(min), (uint64_t)key->min);
	config_size_text(max, sizeof(max), (uint64_t)key->max);
	snprintf(right, RIGHT_MAX, "must be a size from %s to %s (K, M, G): %s",
		 min, max, key->help);
}

static bool u32_parse(const struct config_key *key, const char *value,
		      void *field, struct config_parse *parse, char *right)
{
	int64_t number;

	(void)parse, (void)right;
	if (!parse_number(value, &number) || !is_in_range(key, number))
		return false;
	*(uint32_t *)field = (uint32_t)number;
	return true;
}

static bool u32_is_sane(const struct config_key *key, const void *field)
{
	return is_in_range(key, *(const uint32_t *)field);
}

static bool i32_parse(const struct config_key *key, const char *value,
		      void *field, struct config_parse *parse, char *right)
{
	int64_t number;

	(void)parse, (void)right;
	if (!parse_number(value, &number) || !is_in_range(key, number))
		return false;
	*(int32_t *)field = (int32_t)number;
	return true;
}

static bool i32_is_sane(const struct config_key *key, const void *field)
{
	return is_in_range(key, *(const int32_t *)field);
}

static bool size32_parse(const struct config_key *key, const char *value,
			 void *field, struct config_parse *parse, char *right)
{
	int64_t bytes;

	(void)parse, (void)right;
	if (!parse_size(value, &bytes) || !is_in_range(key, bytes))
		return false;
	*(uint32_t *)field = (uint32_t)bytes;
	return true;
}

static bool size64_parse(const struct config_key *key, const char *value,
			 void *field, struct config_parse *parse, char *right)
{
	int64_t bytes;

	(void)parse, (void)right;
	if (!parse_size(value, &bytes) || !is_in_range(key, bytes))
		return false;
	*(uint64_t *)field = (uint64_t)bytes;
	return true;
}

static bool size64_is_sane(const struct config_key *key, const void *field)
{
	uint64_t bytes = *(const uint64_t *)field;

	return bytes >= (uint64_t)key->min && bytes <= (uint64_t)key->max;
}

const struct config_type config_type_u32 = { u32_parse, describe_number,
					     u32_is_sane };
const struct config_type config_type_i32 = { i32_parse, describe_number,
					     i32_is_sane };
const struct config_type config_type_size32 = { size32_parse, describe_size,
						u32_is_sane };
const struct config_type config_type_size64 = { size64_parse, describe_size,
						size64_is_sane };

/* ------------------------------------------------------------------ words */

static const struct config_word yes_no[] = {
	{ "yes", 1 }, { "no", 0 },  { "true", 1 }, { "false", 0 },
	{ "on", 1 },  { "off", 0 }, { NULL, 0 },
};
static void describe_words(const struct config_key *key, char *right)
{
	size_t used = (size_t)snprintf(right, RIGHT_MAX, "must be ");

	for (const struct config_word *w = key->words; w->word; w++)
		used += (size_t)snprintf(right + used, RIGHT_MAX - used, "%s%s",
					 w == key->words ? "" :
					 w[1].word	 ? ", " :
							   " or ",
					 w->word);
	snprintf(right + used, RIGHT_MAX - used, ": %s", key->help);
}

static void describe_bool(const struct config_key *key, char *right)
{
	snprintf(right, RIGHT_MAX, "must be yes or no: %s", key->help);
}

static const struct config_word *find_word(const struct config_word *words,
					   const char *value)
{
	for (; words->word; words++)
		if (strcmp(words->word, value) == 0)
			return words;
	return NULL;
}

static bool choice_parse(const struct config_key *key, const char *value,
			 void *field, struct config_parse *parse, char *right)
{
	const struct config_word *word = find_word(key->words, value);

	(void)parse, (void)right;
	if (word)
		*(uint32_t *)field = word->value;
	return word;
}

static bool choice_is_sane(const struct config_key *key, const void *field)
{
	for (const struct config_word *w = key->words; w->word; w++)
		if (w->value == *(const uint32_t *)field)
			return true;
	return false;
}

static bool bool_parse(const struct config_key *key, const char *value,
		       void *field, struct config_parse *parse, char *right)
{
	const struct config_word *word =
		find_word(key->words ? key->words : yes_no, value);

	(void)parse, (void)right;
	if (word)
		*(bool *)field = word->value;
	return word;
}

/* Reading a bool that is neither 0 nor 1 is undefined: look at the byte. */
static bool bool_is_sane(const struct config_key *key, const void *field)
{
	(void)key;
	return *(const unsigned char *)field <= 1;
}

static bool profile_parse(const struct config_key *key, const char *value,
			  void *field, struct config_parse *parse, char *right)
{
	(void)field;
	return choice_parse(key, value, &parse->pending.profile, parse, right);
}

const struct config_type config_type_choice = { choice_parse, describe_words,
						choice_is_sane };
const struct config_type config_type_bool = { bool_parse, describe_bool,
					      bool_is_sane };
const struct config_type config_type_switch = { bool_parse, describe_words,
						bool_is_sane };
const struct config_type config_type_profile = { profile_parse, describe_words,
						 NULL };

/* --------------------------------------------------------- text and lists */

static void describe_text(const struct config_key *key, char *right)
{
	snprintf(right, RIGHT_MAX, "must be %s, of at most %lld characters",
		 key->help, (long long)key->max);
}

static bool text_parse(const struct config_key *key, const char *value,
		       void *field, struct config_parse *parse, char *right)
{
	size_t length = strlen(value);

	(void)parse, (void)right;
	if (!is_in_range(key, (int64_t)length))
		return false;
	memcpy(field, value, length + 1);
	return true;
}

static bool text_is_sane(const struct config_key *key, const void *field)
{
	size_t length = strnlen(field, (size_t)key->max + 1);

	return is_in_range(key, (int64_t)length);
}

static bool file_parse(const struct config_key *key, const char *value,
		       void *field, struct config_parse *parse, char *right)
{
	if (!text_parse(key, value, field, parse, right)) {
		describe_text(key, right);
		return false;
	}
	return config_file_is_there(value, right);
}

static bool kernel_filter_parse(const struct config_key *key, const char *value,
				void *field, struct config_parse *parse,
				char *right)
{
	(void)field;
	return text_parse(key, value, parse->pending.filter, parse, right);
}

/* The next of a list, of which commas and blanks part the items; or NULL. */
static const char *next_item(const char **list, size_t *length)
{
	static const char separators[] = ", \t";
	const char *item = *list + strspn(*list, separators);

	*length = strcspn(item, separators);
	*list = item + *length;
	return *length ? item : NULL;
}

static bool interfaces_parse(const struct config_key *key, const char *value,
			     void *field, struct config_parse *parse,
			     char *right)
{
	struct config_source *source = parse->target;
	const char *item;
	size_t length;

	(void)key, (void)field;
	source->interface_count = 0;
	while ((item = next_item(&value, &length))) {
		char name[NR_NAME_MAX] = ""; /* compared as memory */

		snprintf(name, sizeof(name), "%.*s", (int)length, item);
		if (!config_interface_is_valid(name)) {
			snprintf(right, RIGHT_MAX,
				 "an interface's name has 1 to 15 characters, "
				 "without / and :");
			return false;
		}
		if (source->interface_count == CONFIG_INTERFACES_MAX) {
			snprintf(right, RIGHT_MAX,
				 "must be at most %d interfaces",
				 CONFIG_INTERFACES_MAX);
			return false;
		}
		memcpy(source->interfaces[source->interface_count++], name,
		       sizeof(name));
	}
	if (!source->interface_count)
		snprintf(right, RIGHT_MAX, "must name an interface");
	return source->interface_count;
}

/* "all", or numbers: the order is the lanes'. */
static bool queues_parse(const struct config_key *key, const char *value,
			 void *field, struct config_parse *parse, char *right)
{
	struct config_source *source = parse->target;
	const char *item;
	size_t length;

	(void)field;
	source->queue_count = 0;
	if (strcmp(value, "all") == 0)
		return true;
	while ((item = next_item(&value, &length))) {
		char text[16];
		int64_t number;

		snprintf(text, sizeof(text), "%.*s", (int)length, item);
		if (!parse_number(text, &number) || !is_in_range(key, number))
			return false;
		if (source->queue_count == NR_LANES_MAX) {
			snprintf(right, RIGHT_MAX, "must be at most %d queues",
				 NR_LANES_MAX);
			return false;
		}
		source->queues[source->queue_count++] = (uint32_t)number;
	}
	source->lanes = source->queue_count;
	return source->queue_count;
}

static void describe_queues(const struct config_key *key, char *right)
{
	snprintf(right, RIGHT_MAX,
		 "must be all, or a list of numbers from %lld to %lld: %s",
		 (long long)key->min, (long long)key->max, key->help);
}

static bool rate_parse(const struct config_key *key, const char *value,
		       void *field, struct config_parse *parse, char *right)
{
	struct config_source *source = parse->target;
	int64_t number;

	(void)key, (void)field, (void)right;
	if (strcmp(value, "max") == 0) {
		source->rate_mode = RATE_MAX;
	} else if (strcmp(value, "recorded") == 0) {
		source->rate_mode = RATE_RECORDED;
	} else if (parse_number(value, &number) && is_in_range(key, number)) {
		source->rate_mode = RATE_FIXED;
		source->rate = (uint64_t)number;
	} else {
		return false;
	}
	return true;
}

static void describe_rate(const struct config_key *key, char *right)
{
	snprintf(right, RIGHT_MAX,
		 "must be max, recorded, or a number of packets/s from %lld "
		 "to %lld: %s",
		 (long long)key->min, (long long)key->max, key->help);
}

/* ------------------------------------------------------- users and groups */

static bool resolve(bool is_group, const char *name, uint32_t *id)
{
	const struct passwd *user = is_group ? NULL : getpwnam(name);
	const struct group *group = is_group ? getgrnam(name) : NULL;
	int64_t number;

	if (user)
		*id = user->pw_uid;
	else if (group)
		*id = group->gr_gid;
	else if (parse_number(name, &number) && number >= 0 &&
		 number < UINT32_MAX)
		*id = (uint32_t)number;
	else
		return false;
	return true;
}

static bool user_parse(const struct config_key *key, const char *value,
		       void *field, struct config_parse *parse, char *right)
{
	const struct passwd *user = getpwnam(value);

	if (!text_parse(key, value, field, parse, right)) {
		describe_text(key, right);
		return false;
	}
	if (!user)
		snprintf(right, RIGHT_MAX,
			 "there is no such user; make it (useradd --system) or "
			 "leave the key out");
	else if (user->pw_uid == 0)
		snprintf(right, RIGHT_MAX,
			 "the engine must not be root; name a user that "
			 "nothing else runs as");
	return user && user->pw_uid;
}

static bool group_parse(const struct config_key *key, const char *value,
			void *field, struct config_parse *parse, char *right)
{
	struct config *config = parse->target;

	if (!text_parse(key, value, field, parse, right)) {
		describe_text(key, right);
		return false;
	}
	config->socket_gid_set = resolve(true, value, &config->socket_gid);
	if (!config->socket_gid_set)
		snprintf(right, RIGHT_MAX,
			 "there is no such group; make it (groupadd --system) "
			 "or name another");
	return config->socket_gid_set;
}

static bool allow_item(struct config_allow *allow, const char *item,
		       size_t length, char *right)
{
	char text[NR_NAME_MAX + 8];
	const char *name;

	snprintf(text, sizeof(text), "%.*s", (int)length, item);
	allow->is_group = strncmp(text, "group:", 6) == 0;
	if (!allow->is_group && strncmp(text, "user:", 5) != 0)
		return false;
	name = strchr(text, ':') + 1;
	if (resolve(allow->is_group, name, &allow->id))
		return true;
	snprintf(right, RIGHT_MAX, "there is no %s %s",
		 allow->is_group ? "group" : "user", name);
	return false;
}

static bool allow_parse(const struct config_key *key, const char *value,
			void *field, struct config_parse *parse, char *right)
{
	struct config_channel *channel = parse->target;
	const char *item;
	size_t length;

	(void)key, (void)field;
	channel->allow_everyone = strcmp(value, "everyone") == 0;
	if (channel->allow_everyone)
		return true;
	while ((item = next_item(&value, &length))) {
		if (channel->allow_count == CONFIG_ALLOW_MAX) {
			snprintf(right, RIGHT_MAX,
				 "must be at most %d users and groups",
				 CONFIG_ALLOW_MAX);
			return false;
		}
		if (!allow_item(&channel->allow[channel->allow_count], item,
				length, right))
			return false;
		channel->allow_count++;
	}
	return channel->allow_count;
}

static void describe_help(const struct config_key *key, char *right)
{
	snprintf(right, RIGHT_MAX, "must be %s", key->help);
}

/* ------------------------------------------------------ between sections */

static uint32_t channel_index(const struct config_parse *parse)
{
	const struct config_channel *channel = parse->target;

	return (uint32_t)(channel - parse->config->channels);
}

static bool source_ref_parse(const struct config_key *key, const char *value,
			     void *field, struct config_parse *parse,
			     char *right)
{
	char *name = parse->pending.sources[channel_index(parse)];

	(void)field;
	return text_parse(key, value, name, parse, right);
}

const struct config_type config_type_text = { text_parse, describe_text,
					      text_is_sane };
const struct config_type config_type_file = { file_parse, NULL, text_is_sane };
const struct config_type config_type_user = { user_parse, NULL, text_is_sane };
const struct config_type config_type_group = { group_parse, NULL,
					       text_is_sane };
const struct config_type config_type_kernel_filter = { kernel_filter_parse,
						       describe_text, NULL };
const struct config_type config_type_interfaces = { interfaces_parse, NULL,
						    NULL };
const struct config_type config_type_queues = { queues_parse, describe_queues,
						NULL };
const struct config_type config_type_rate = { rate_parse, describe_rate, NULL };
const struct config_type config_type_allow = { allow_parse, describe_help,
					       NULL };
const struct config_type config_type_source_ref = { source_ref_parse,
						    describe_text, NULL };
