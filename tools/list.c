/* SPDX-License-Identifier: BSD-2-Clause */
/* netring list: one line a channel. */
#include <stdio.h>
#include <stdlib.h>

#include "json.h"
#include "table.h"
#include "verbs.h"

struct values {
	bool json;
};

static const struct option_spec options[] = {
	{ "json", 0, OPTION_FLAG, offsetof(struct values, json), 0, 0, NULL,
	  "one JSON document: {\"channels\": [...]}" },
	{ 0 },
};

static const char *const headings[] = { "channel", "source",	"backend",
					">lanes",  ">captures", ">snaplen",
					"filter",  NULL };

static int channel_row(const struct nr_msg *msg, void *data)
{
	const struct nr_msg_channel *c = (const void *)msg;
	struct table *table = data;

	if (msg->type != NR_MSG_CHANNEL)
		return 0;
	table_text(table, c->channel, sizeof(c->channel));
	table_text(table, c->source, sizeof(c->source));
	table_text(table, c->backend, sizeof(c->backend));
	table_number(table, c->lanes);
	table_number(table, c->captures);
	if (c->snaplen)
		table_number(table, c->snaplen);
	else
		table_cell(table, "whole");
	if (c->filter[0])
		table_text(table, c->filter, sizeof(c->filter));
	else
		table_cell(table, "-");
	return 0;
}

static int channel_json(const struct nr_msg *msg, void *data)
{
	const struct nr_msg_channel *c = (const void *)msg;
	struct json *json = data;

	if (msg->type != NR_MSG_CHANNEL)
		return 0;
	json_object(json, NULL);
	json_string(json, "channel", c->channel, sizeof(c->channel));
	json_string(json, "source", c->source, sizeof(c->source));
	json_string(json, "backend", c->backend, sizeof(c->backend));
	json_number(json, "lanes", c->lanes);
	json_number(json, "captures", c->captures);
	json_number(json, "snaplen", c->snaplen);
	json_number(json, "link_type", c->link_type);
	json_string(json, "filter", c->filter, sizeof(c->filter));
	json_object_end(json);
	return 0;
}

/* Collected first: a broker that refuses leaves no half document behind. */
static enum status list_json(const char *socket)
{
	char *text = NULL;
	size_t size = 0;
	FILE *memory = open_memstream(&text, &size);
	enum status status = STATUS_OK;
	struct json json;
	int err;

	if (!memory) {
		complain("out of memory");
		return STATUS_FAILED;
	}
	json_init(&json, memory, false);
	json_object(&json, NULL);
	json_array(&json, "channels");
	err = nr_broker_list(socket, channel_json, &json);
	json_array_end(&json);
	json_object_end(&json);
	fclose(memory);
	if (err)
		status = complain_refused(err, NULL);
	else
		fwrite(text, 1, size, stdout);
	free(text);
	return status;
}

static enum status list_table(const char *socket)
{
	enum status status = STATUS_OK;
	struct table table;
	int err;

	table_init(&table, headings);
	err = nr_broker_list(socket, channel_row, &table);
	if (err)
		status = complain_refused(err, NULL);
	else if (table.count)
		table_print(&table, stdout);
	else
		complain("no channel that this user may attach to");
	table_deinit(&table);
	return status;
}

static enum status list_run(const struct verb *verb, int argc, char **argv,
			    const char *socket)
{
	struct arguments arguments = { .socket = socket };
	struct values values = { 0 };
	enum status status;

	switch (options_parse(verb, argc, argv, &values, &arguments)) {
	case OPTIONS_HELP:
		return finish_stdout();
	case OPTIONS_WRONG:
		return STATUS_USAGE;
	case OPTIONS_OK:
		break;
	}
	if (arguments.rest < argc)
		return options_wrong(verb, "%s: list takes no argument",
				     argv[arguments.rest]);
	status = values.json ? list_json(arguments.socket) :
			       list_table(arguments.socket);
	return status ? status : finish_stdout();
}

const struct verb list_verb = {
	.name = "list",
	.arguments = "[--json]",
	.summary = "Lists the channels that you may attach to.",
	.options = options,
	.run = list_run,
};
