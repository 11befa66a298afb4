"""The two services that the daemon talks to, played on this machine.

`botapi` is a Telegram Bot API server for one bot, `model` an OpenAI-compatible model server that
needs no network. The demo, the tests, the crash suite and the benchmarks all use these two, so what
one of them learns about the daemon is true for the others. `run` starts the real daemon against
them and makes the terminal the chat.

    async with open_demo_servers() as demo:          # daemon.demo.servers
        demo.bot.user_says("hello")
        ...                                          # a client on demo.bot.base_url, demo.bot.token
        await demo.bot.wait_for(lambda bot: bot.texts(1))
"""
