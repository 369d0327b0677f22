"""Who looked after the server as the owner of its oldest project does so from now on as a superuser."""

from typing import Any

from django.db import migrations


def name_them(apps: Any, schema_editor: Any) -> None:
    people = apps.get_model("accounts", "User").objects
    oldest = apps.get_model("accounts", "Membership").objects.filter(role="owner").order_by("created_at", "pk").first()
    if oldest and not people.filter(is_superuser=True).exists():
        people.filter(pk=oldest.user_id).update(is_superuser=True)


class Migration(migrations.Migration):
    dependencies = [("accounts", "0004_audit")]
    operations = [migrations.RunPython(name_them, migrations.RunPython.noop)]
