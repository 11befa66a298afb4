"""The format of a play, as `famulus demo --help` prints it. Imported when only help is wanted."""

from __future__ import annotations

from typing import Final

PLAY_FORMAT: Final = r"""
A play is a text file. Each line begins with what it is:

    # a comment; empty lines are comments too
    > hello                  the user says this
    | and this               ... a further line of the same message
    + photo what is this?    the user sends a photo with this caption; also album, document, voice,
                             sticker, location, contact, forward, and about the last message that
                             the chat has: reply WORDS (to the bot's), edit WORDS (of the user's)
    < offline demo model     a reply to it contains this (letter case counts)
    <~ ^It is \d+            ... or matches this regular expression; ^ and $ fit at every line
    <! error                 no reply to it so far contains this
    ! press Allow once       the user presses the newest button that says this
    ! seen                   wait until the daemon has received what was said last
    ! restart                kill the daemon (SIGKILL) and start it again
    ! timeout 20             seconds that each expected reply may take from here on (15 at first)
    ! neighbours             the play is played among a web server, called {neighbour} in what the
                             user says, a search engine, an MCP server and a specialist
    @code                    from here on: only where code tools can run ...
    @nocode                  ... only where they cannot ...
    @always                  ... in any case again

"A reply to it" is any message that the chat shows after the last `>`, `+` or `! press` line, as it
reads when it is looked at: an answer in several messages, or one that is edited, is found wherever
it stands. So is the line that is shown to who has pressed a button.
A picture or file reads `[picture NAME, SIZE kB]`, below its caption if it has one; instead of
`picture` it may be `document`, `animation`, `video`, `music` or `voice message`.
Several expectations after one `>` line may be met by one message. `! restart` between `>` and `<`
checks that an answer survives the daemon. A play named by a word and not by a file is one that is
shipped: `famulus demo --play main`.
"""
